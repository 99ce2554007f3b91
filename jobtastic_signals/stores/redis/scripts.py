"""The operations of the Redis store, as scripts that Redis runs: :mod:`..rules`, in Lua.

Each script writes the call's own key first, and once. A full or read-only server refuses that, so a script is
carried out or changes nothing. The comments say what the arguments are; the first is always the time.
"""

from __future__ import annotations

from .commands import Script
from .lua import ANSWER, AWAIT, CLAIM_FRESH, PARSE, RUN, SHOW, TIME, WRITE, WRITE_INDEX, rule

__all__ = [
    "CLAIM",
    "COMPLETE",
    "DROP",
    "FORGET",
    "IDENTIFY",
    "INDEX",
    "LOOKUP",
    "LOOKUP_OR_CLAIM",
    "RELEASE",
    "RENEW",
]

LOOKUP = rule(
    """
  return is_live() and show_claim()
""",
    SHOW,
    fresh="""
if not stored then
  return
end
""",
    answer=ANSWER,
)

# The time, the owner, its lease, the seconds until its message expires ('' for never), '1' if that goes out,
# and the claim that counts as lapsed, if there is one. If nothing was stored, the answer is only the time.
LOOKUP_OR_CLAIM = rule(
    """
  if is_live(ARGV[6], ARGV[7]) then
    local outlasts = not claim.message_expires or ends and ends <= tonumber(claim.message_expires)
    if claim.delivery or claim.owner == owner or outlasts then
      return ARGV[5] == '1' and claim.owner ~= owner and await_claim() or show_claim()
    end
  end
  local before = claim
  claim = queued()
  claim.awaited = before and (before.awaited or before.owner ~= owner) and true or nil
  save()
  return show_claim(before)
""",
    SHOW,
    AWAIT,
    fresh=CLAIM_FRESH
    + """
local owner, lease, expires = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local ends = expires and now + expires
local function queued()
  return {owner = owner, expires = text(now + lease), since = at, message_expires = text(ends)}
end
if not stored then
  claim_fresh(queued(), lease)
  return at
end
""",
    answer=ANSWER,
)

# The time, the owner, its delivery, its lease, when the call was made ('' for now), for whom it waited, and
# the claim that counts as lapsed, if there is one.
CLAIM = rule(
    """
  local called = tonumber(ARGV[5])
  if result and (called and called < tonumber(result.began) or ARGV[6] == '=' .. result.owner) then
    return {at, stored}
  end
  local before = claim
  if before and before.delivery == delivery then
    before.expires = text(now + lease)
    save()
    return show_claim()
  end
  if is_live(ARGV[7], ARGV[8]) and before.delivery then
    return await_claim()
  end
  run(ARGV[2], delivery, lease, at)
  return show_claim(before)
""",
    SHOW,
    AWAIT,
    RUN,
    fresh=CLAIM_FRESH
    + """
local delivery, lease = ARGV[3], tonumber(ARGV[4])
if not stored then
  local running = {owner = ARGV[2], delivery = delivery, expires = text(now + lease), since = at}
  return {at, claim_fresh(running, lease)}
end
""",
    answer=ANSWER,
)

# The time, the owner, its delivery, its lease, and for how long it ran.
RENEW = rule(
    """
  local lease = tonumber(ARGV[4])
  if claim and claim.delivery == ARGV[3] then
    claim.expires = text(now + lease)
    save()
  elseif is_live() and claim.delivery or result and tonumber(result.began) > now - ARGV[5] then
    return 0
  else
    run(ARGV[2], ARGV[3], lease, text(now - ARGV[5]))
  end
  return 1
""",
    RUN,
)

# The time, the owner, its delivery ('=' and the text, or ''), the payload, how long it answers new callers
# ('' for ever), its state, how long it is kept for others, and how long it ran. For an index also what is
# stored there, and for how long. Without a second key the answer is what INDEX has to store.
COMPLETE = rule(
    """
  local owner, state, ttl = ARGV[2], ARGV[6], tonumber(ARGV[5])
  local began, keeps = now - ARGV[8], claim ~= nil
  if claim and claim.delivery and ARGV[3] == '=' .. claim.delivery then
    began, keeps = claim.since, claim.awaited
  elseif is_live() and claim.delivery then
    return 0
  elseif result and (not has_passed(result.expires) or tonumber(result.began) > began) then
    return 0
  end
  local expires = ttl and now + ttl
  local kept = expires and keeps and math.max(expires, now + ARGV[7]) or expires
  if claim and claim.owner == owner then
    claim = nil
  end
  if has_passed(kept) then
    save()
    return 1
  end
  result = {owner = owner, state = state, began = text(began), ended = at, expires = text(expires)}
  result.kept = kept == expires and result.expires or text(kept)
  payload = ARGV[4]
  save()
  local index_ttl = tonumber(ARGV[10])
  local ends = index_ttl and now + index_ttl
  if not ARGV[9] or has_passed(ends) then
    return 1
  end
  result.expires, result.kept = text(ends), text(ends)
  if not KEYS[2] then
    return cjson.encode(result)
  end
  index(KEYS[2], result, ARGV[9])
  return 1
""",
    WRITE_INDEX,
)

# The time, what COMPLETE answered, and the payload: for an index on another server.
INDEX = Script(f"{TIME}{PARSE}{WRITE}{WRITE_INDEX}index(key, cjson.decode(ARGV[2]), ARGV[3])")

# The time, the owner, the delivery that it may have ('=' and its start, or ''), the seconds for which it is
# requeued, and '1' to leave an awaited claim.
RELEASE = rule("""
  local start, requeue = ARGV[3], tonumber(ARGV[4])
  if not claim or claim.owner ~= ARGV[2] or ARGV[5] == '1' and claim.awaited then
    return 0
  end
  if claim.delivery and (start == '' or string.sub('=' .. claim.delivery, 1, #start) ~= start) then
    return 0
  end
  if claim.awaited and requeue == 0 and not claim.delivery and has_passed(claim.expires) then
    return 0
  end
  if requeue ~= 0 or claim.awaited then
    claim = {owner = claim.owner, expires = text(now + requeue), since = at, awaited = claim.awaited}
  else
    claim = nil
  end
  save()
  return 1
""")

# The time.
FORGET = rule("""
  local known = result and not has_passed(result.expires)
  if result then
    result = nil
    save()
  end
  return known and 1 or 0
""")

# Nothing. For what the script could read and Python cannot.
DROP = Script("return redis.call('DEL', KEYS[1])")

# A text for the identity of a database that has none yet, or what is none: 32 digits.
IDENTIFY = Script(
    """
local identity = redis.pcall('GET', KEYS[1])
if type(identity) == 'table' and string.sub(identity.err, 1, 9) ~= 'WRONGTYPE' then
  return identity
end
if type(identity) ~= 'string' or #identity ~= 32 or string.find(identity, '[^0-9a-f]') then
  identity = ARGV[1]
  redis.call('SET', KEYS[1], identity)
end
return identity
"""
)
