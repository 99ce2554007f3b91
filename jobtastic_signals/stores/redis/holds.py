"""The scripts of the Redis store that change a claim or a result: :mod:`..rules`, in Lua.

The comments say what the arguments are; the first is always the time.
"""

from __future__ import annotations

from ..entry import FORMAT_VERSION
from .commands import Script
from .lua import LONE_CLAIM, MARKS, PARSE, RELY, RUN, TIME, WRITE, rule

__all__ = ["COMPLETE", "DROP", "FORGET", "INDEX", "LEAVE", "RELEASE", "RENEW"]

WRITE_INDEX = f"""
-- Store *result* under *name*, whatever result was there.
local function index(name, result, payload)
  local record, stored = {{version = {FORMAT_VERSION}}}, redis.pcall('GET', name)
  if stored then
    local readable, found = pcall(parse, stored)
    record = readable and found or record
  end
  if record.forgotten and tonumber(result.began) <= tonumber(record.forgotten) then
    return
  end
  record.result = result
  write(name, record, payload)
end
"""

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
    RELY,
    RUN,
)

STORE_RESULT = """
local owner, state, ttl, stale_for = ARGV[3], ARGV[7], tonumber(ARGV[6]), tonumber(ARGV[10])

-- Store the result of a run with the rest of a *record*, and its index. Until then it had that *payload*.
local function store_result(began, keeps, is_forgotten, record, payload)
  if is_forgotten then
    ttl, stale_for = 0, 0
  end
  local expires = ttl and now + ttl
  local kept = expires and keeps and math.max(expires, now + ARGV[8]) or expires
  local stale_until = expires and stale_for ~= 0 and expires + stale_for or nil
  if has_passed(kept) and has_passed(stale_until or 0) then
    write(key, record, payload)
    return 1
  end
  local result = {owner = owner, state = state, began = text(began), ended = at, expires = text(expires)}
  result.kept, result.stale_until = kept == expires and result.expires or text(kept), text(stale_until)
  record.result = result
  write(key, record, ARGV[5])
  local ends, index_ttl = expires, tonumber(ARGV[12])
  if index_ttl then
    ends = now + index_ttl
  end
  if not ARGV[11] or has_passed(ends) then
    return 1
  end
  result.expires, result.stale_until = ends == expires and result.expires or text(ends), nil
  result.kept = result.expires
  if ARGV[13] ~= '1' then
    return cjson.encode(result)
  end
  index(KEYS[#KEYS], result, ARGV[11])
  return 1
end
"""

# The time, the scopes as MARKS has them, the owner, its delivery ('=' and the text, or ''), the payload, how
# long it answers new callers ('' for ever), its state, how long it is kept for others, how long it ran, and
# how long it is stale. For an index also what is stored there, and for how long ('' for as long as the
# result), and '1' if the index is the last key. Otherwise the answer is what INDEX has to store.
COMPLETE = rule(
    """
  local began, keeps = now - ARGV[9], claim ~= nil
  local known = result and not forgotten_since(result.began)
  local answers = known and not has_passed(result.expires)
  local is_more = known and result.state == 'FAILURE' and state == 'SUCCESS'
  if claim and claim.delivery and ARGV[4] == '=' .. claim.delivery then
    began, keeps = claim.since, claim.awaited
  elseif is_live() and claim.delivery or answers and not is_more
    or result and tonumber(result.began) > began then
    return 0
  end
  if (state == 'FAILURE' or ttl == 0) and known and result.state == 'SUCCESS' and (answers or is_stale()) then
    return 0
  end
  if following and following.owner == owner then
    following = nil
  end
  if claim and claim.owner == owner then
    claim, following = following, nil
  end
  record.claim, record.next, record.forgotten = claim, following, text(forgotten)
  return store_result(began, keeps, forgotten_since(began), record, payload)
""",
    usual=(
        LONE_CLAIM,
        MARKS,
        PARSE,
        WRITE,
        WRITE_INDEX,
        STORE_RESULT,
        f"""
read_marks(ARGV[13] == '1' and #KEYS - 1 or #KEYS)
-- Usually nobody else has to do with the run.
local since = ARGV[4] ~= '' and since_when_alone(owner, string.sub(ARGV[4], 2))
if since then
  return store_result(since, nil, mark and tonumber(since) <= mark, {{version = {FORMAT_VERSION}}}, '')
end
""",
    ),
)

# The time, what COMPLETE answered, and the payload: for an index on another server.
INDEX = Script(f"{TIME}{PARSE}{WRITE}{WRITE_INDEX}index(key, cjson.decode(ARGV[2]), ARGV[3])")

# The time, the owner, the delivery that it may have ('=' and its start, or ''), the seconds for which it is
# requeued, and '1' to leave an awaited claim.
RELEASE = rule(
    """
  local owner, start, requeue = ARGV[2], ARGV[3], tonumber(ARGV[4])
  local function can_release(claim)
    if not claim or claim.owner ~= owner or ARGV[5] == '1' and claim.awaited then
      return false
    end
    if claim.delivery then
      return start ~= '' and string.sub('=' .. claim.delivery, 1, #start) == start
    end
    -- It may have been given up before.
    return requeue ~= 0 or not claim.awaited or not has_passed(claim.expires)
  end

  local released = can_release(claim) and claim or can_release(following) and following
  if not released then
    return 0
  end
  local is_next = released == following
  local queued = {owner = owner, expires = text(now + requeue), since = at, awaited = released.awaited}
  if requeue ~= 0 then
    queued.joined, queued.left = released.joined, released.left
  elseif not released.awaited then
    queued = nil
  end
  if is_next then
    following = queued
  elseif requeue ~= 0 or not following then
    claim = queued
  else
    claim, following = following, nil
    claim.awaited = claim.awaited or released.awaited
  end
  save()
  return 1
""",
    usual=(
        LONE_CLAIM,
        """
-- Usually a run ends on which nobody relies.
if ARGV[3] ~= '' and tonumber(ARGV[4]) == 0 and since_when_alone(ARGV[2], string.sub(ARGV[3], 2)) then
  redis.call('DEL', key)
  return 1
end
""",
    ),
)

# The time.
FORGET = rule("""
  local is_known = result and (not has_passed(result.expires) or is_stale())
  if not result and not claim then
    return 0
  end
  result, forgotten = nil, claim and now or forgotten
  save()
  return is_known and 1 or 0
""")

# The time, the owner, and the seat.
LEAVE = rule("""
  local answer = 'unknown'

  local function wants(claim)
    if not claim or claim.owner ~= ARGV[2] then
      return false
    end
    local has_left = false
    for _, seat in ipairs(claim.left or {}) do
      has_left = has_left or seat == ARGV[3]
    end
    if not (claim.awaited or has_left or is_abandoned(claim)) then
      return true
    end
    if has_left and is_abandoned(claim) and not claim.awaited then
      answer = 'last'
    elseif answer == 'unknown' then
      answer = 'others'
    end
    return false
  end

  local left = wants(claim) and claim or wants(following) and following
  if not left then
    return answer
  end
  left.left = left.left or {}
  table.insert(left.left, ARGV[3])
  local is_last = is_abandoned(left)
  if is_last and not left.delivery and left == following then
    following = nil
  elseif is_last and not left.delivery then
    claim, following = following, nil
  end
  save()
  return is_last and 'last' or 'others'
""")

# Nothing. For what the script could read and Python cannot.
DROP = Script("return redis.call('DEL', KEYS[1])")
