"""The scripts of the Redis store that look for a result or a claim: :mod:`..rules`, in Lua.

The comments say what the arguments are. The first is always the time. The second is for the scopes of the
key, see :data:`.lua.MARKS_IF_NEEDED`.
"""

from __future__ import annotations

from .lua import LONE_CLAIM, MARKS_IF_NEEDED, RELY, RUN, rule

__all__ = ["CLAIM", "ENTRY", "LOOKUP", "LOOKUP_OR_CLAIM"]

SHOW = """
-- Let the next claim be the claim, if only that one is live. Return whether it is now.
local function promote(owner, delivery)
  if live_next() and not is_live(owner, delivery) then
    claim, following = following, nil
    claim.awaited = true  -- The owner of the lapsed one may still send a message.
    return true
  end
end

-- Return since when nobody joins the claim, if that is so.
local function useless_since()
  local forgotten = claim.delivery and forgotten_since(claim.since)
  return forgotten or is_abandoned(claim) and tonumber(claim.since) or nil
end

local function show_claim(more)
  return {at, cjson.encode({claim = claim, next = live_next(), forgotten = text(useless_since())}), more}
end
"""

MEET = """
local function queued(owner, lease, ends, fresh)
  local expires, message_expires = text(now + lease), text(ends)
  return {owner = owner, expires = expires, since = at, message_expires = message_expires, fresh = fresh}
end

local function show_granted(before)
  local previous = before and before.owner ~= claim.owner and before.owner or nil
  return {at, cjson.encode({claim = claim, previous = previous})}
end

-- Make sure that there is a live next claim.
local function add_next(owner, lease)
  if live_next() then
    return
  elseif following and following.owner == owner then
    following.expires = text(now + lease)
  else
    local awaited = following ~= nil or nil
    following = queued(owner, lease, nil, true)
    following.awaited = awaited
  end
  save()
end

-- Note that a call or a delivery of *owner* met this claim. One that goes out relies on a result later.
local function meet(met, owner, goes_out, joins)
  if not met or met.owner == owner and not (goes_out and met.delivery) then
    return
  elseif goes_out and not met.awaited then
    met.awaited = true
    save()
  elseif not goes_out and joins then
    met.joined = (met.joined or 0) + 1
    save()
  end
end
"""

# The third argument is what the keys of the result backend begin with, '' if it is on another server. The
# fourth is its database, '' for this one.
TELL = """
-- Return what the result backend has of *owner*, '' for nothing, or false if that cannot be said. Nothing of
-- ours can be asked afterwards, since the rest of the script goes on in the backend's database.
local function told(owner)
  if ARGV[3] == '' or ARGV[4] ~= '' and redis.pcall('SELECT', ARGV[4]).err then
    return false
  end
  local meta = redis.pcall('GET', ARGV[3] .. owner)
  return type(meta) ~= 'table' and (meta or '')
end
"""

_NOTHING = """
if not stored then
  return
end
"""

# The time, the scopes, and the result backend. Behind a result, the answer has what that has of the owner.
LOOKUP = rule(
    """
  promote()
  return is_live() and show_claim()
""",
    SHOW,
    usual=(_NOTHING,),
    marks=MARKS_IF_NEEDED,
    answer=f"""
{TELL}
if result and not has_passed(result.expires) and not forgotten_since(result.began) then
  return {{at, stored, told(result.owner)}}
end
""",
)

# The time, and the scopes. The answer has all that is live.
ENTRY = rule(
    """
  local is_known = result and (not has_passed(result.expires) or is_stale())
  result = is_known and not forgotten_since(result.began) and result or nil
  promote()
  local shown, is_claimed = {result = result}, is_live()
  if is_claimed then
    shown.claim, shown.next, shown.forgotten = claim, live_next(), text(useless_since())
  end
  return (result or is_claimed) and {at, cjson.encode(shown) .. (result and '\\n' .. payload or '')}
""",
    SHOW,
    usual=(_NOTHING,),
    marks=MARKS_IF_NEEDED,
)

# The time, the scopes, the result backend, the owner, its lease, the seconds until its message expires (''
# for never), and four digits, '1' for what applies: the message goes out, the call is fresh, it is a rerun,
# it joins. Then the claim that counts as lapsed, if there is one. If nothing was stored, the answer is only
# the time. Behind the result, or the claim of another, it has what the result backend has of the owner.
LOOKUP_OR_CLAIM = rule(
    """
  if promote(ARGV[9], ARGV[10]) then
    save()
  end
  local live = is_live(ARGV[9], ARGV[10])
  local reruns = applies(3) and live and claim.delivery
  local found = result and not fresh and not reruns and not forgotten_since(result.began)
  if found and not has_passed(result.expires) then
    return {at, stored, told(result.owner)}
  end
  local stale = found and is_stale()
  local late = fresh or live and useless_since()
  if stale and live and not late then
    return {at, stored, told(result.owner), claim.owner == owner and owner}
  end
  local goes_out, joins = applies(1), applies(4)
  local function show_met()
    return show_claim(not goes_out and claim.owner ~= owner and told(claim.owner))
  end
  if live and claim.delivery then
    if (late or reruns) and not ends then
      add_next(owner, lease)
    end
    meet(late and live_next() or not late and claim, owner, goes_out, joins)
    return show_met()
  end
  if live then
    -- The message of another may be about to be revoked, or be answered by an older result.
    local runs = not is_abandoned(claim) and (claim.fresh or not fresh)
    local outlasts = not claim.message_expires or ends and ends <= tonumber(claim.message_expires)
    if claim.owner == owner or runs and outlasts then
      meet(claim, owner, goes_out, joins)
      return show_met()
    end
  end
  local before, awaited = claim, others_rely(owner)
  claim, following = queued(owner, lease, ends, (fresh or stale) and true or nil), nil
  claim.awaited = awaited
  save()
  return stale and {at, stored, told(result.owner), owner} or show_granted(before)
""",
    SHOW,
    MEET,
    RELY,
    usual=(
        LONE_CLAIM,
        """
local function applies(place)
  return string.sub(ARGV[8], place, place) == '1'
end

local owner, lease, expires, fresh = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), applies(2)
local ends = expires and now + expires
if not stored then
  local message = ends and ',"message_expires":"' .. text(ends) .. '"' or ''
  store_lone_claim(owner, nil, lease, message .. (fresh and ',"fresh":true' or ''))
  return at
end
""",
    ),
    marks=MARKS_IF_NEEDED,
    answer=f"""
{TELL}
local is_plain = not fresh and not applies(3) and not following
if is_plain and result and not has_passed(result.expires) and not forgotten_since(result.began) then
  return {{at, stored, told(result.owner)}}
end
""",
)

# The time, the scopes, the owner, its delivery, its lease, when the call was made ('' for now), for whom it
# waited, '1' if it is fresh, and the claim that counts as lapsed, if there is one. If the delivery gets a
# claim that nobody else has to do with, the answer is only the time.
CLAIM = rule(
    """
  local called, fresh = tonumber(ARGV[6]), ARGV[8] == '1'
  local is_earlier = result and called and called < tonumber(result.began)
  local found = result and (is_earlier or not forgotten_since(result.began))
  local is_known = found
  if found then
    local waited = ARGV[7] == '=' .. result.owner and not fresh
    if has_passed(result.expires) then
      found = (is_earlier or waited) and not has_passed(result.kept)
    else
      found = is_earlier or not fresh
    end
    if found then
      return {at, stored}
    end
  end
  local before = claim
  if before and before.delivery == delivery then
    before.expires = text(now + lease)
    save()
    return show_claim()
  end
  if is_live(ARGV[9], ARGV[10]) and claim.delivery then
    local late = (called or now) >= tonumber(claim.since) and (fresh or useless_since())
    if is_known and is_stale() and not fresh and not late then
      return {at, stored}
    end
    if late then
      add_next(owner, lease)
      meet(live_next(), owner, true)
    elseif not claim.awaited then
      claim.awaited = true
      save()
    end
    return show_claim()
  end
  run(owner, delivery, lease, at)
  local is_usual = not claim.awaited and not claim.joined and not claim.left
  return is_usual and at or show_granted(before)
""",
    SHOW,
    MEET,
    RELY,
    RUN,
    usual=(
        LONE_CLAIM,
        """
local owner, delivery, lease = ARGV[3], ARGV[4], tonumber(ARGV[5])
-- Usually nobody has come since this very message was sent.
if not stored or since_when_alone(owner) then
  store_lone_claim(owner, delivery, lease, '')
  return at
end
""",
    ),
    marks=MARKS_IF_NEEDED,
)
