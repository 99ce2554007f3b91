"""What the scripts of the Redis store have in common: how they read, write and show a record.

Each key of the store is one string in Redis::

    {"version":1,"claim":{"owner":"...","since":"...","expires":"...",...},"result":{"owner":"...",...}}
    payload of the result

The fields are those of :class:`.Claim` and :class:`.Result`. One that is absent is ``None`` or false. Times
are texts, since Lua's JSON would round them. Texts and booleans that a later version adds survive a change.
A value that is not like this counts as absent. The answer then carries the beginning of that value.
"""

from __future__ import annotations

from ..base import FORMAT_VERSION, REMEMBERED_FOR
from .commands import Script

__all__ = [
    "ANSWER",
    "AWAIT",
    "CLAIM_FRESH",
    "PARSE",
    "RUN",
    "SHOW",
    "TIME",
    "UNREADABLE",
    "WRITE",
    "WRITE_INDEX",
    "rule",
]

#: The first element of an answer that found a value that cannot be read.
UNREADABLE = b"unreadable"

# The first argument is the time, or '' for the server's own.
TIME = """
local key, at = KEYS[1], ARGV[1]
if at == '' then
  local time = redis.call('TIME')
  at = string.format('%s.%06d', time[1], time[2])
end
local now = tonumber(at)

local function text(time)
  return time and string.format('%.17g', time)
end

-- Redis takes whole milliseconds. It must not drop a record too early.
local function milliseconds(seconds)
  return string.format('%d', math.min(seconds * 1000 + 1, 1e15))
end
"""

WRITE = f"""
-- Store a record, for as long as a store has to keep it.
local function write(name, record, payload)
  local claim, result = record.claim, record.result
  if not claim and not result then
    redis.call('DEL', name)
    return
  end
  local value = cjson.encode(record) .. '\\n' .. (result and payload or '')
  if result and not (result.expires and result.kept) then
    redis.call('SET', name, value)
    return
  end
  local ends = claim and claim.expires + {REMEMBERED_FOR} or 0
  if result then
    ends = math.max(ends, result.expires, result.kept)
  end
  redis.call('SET', name, value, 'PX', milliseconds(ends - now))
end
"""

GET = """
local stored = redis.pcall('GET', key)
if type(stored) == 'table' and string.sub(stored.err, 1, 9) ~= 'WRONGTYPE' then
  return stored
end
"""

CLAIM_FRESH = f"""
-- Store the first claim of a key, and return its record.
local function claim_fresh(claim, lease)
  local record = cjson.encode({{version = {FORMAT_VERSION}, claim = claim}})
  redis.call('SET', key, record .. '\\n', 'PX', milliseconds(lease + {REMEMBERED_FOR}))
  return record
end
"""

PARSE = f"""
-- An end that is nil never comes.
local function has_passed(ends)
  return ends ~= nil and tonumber(ends) <= now
end

-- Raise an error unless the sum of some times is a finite number. For a word, adding has raised one.
local function check(sum)
  assert(sum - sum == 0)
end

-- Leave out tables that a later version adds. Raise an error for a number that could not be written again.
local function prune(fields)
  for name, value in pairs(fields) do
    if type(value) == 'table' then
      fields[name] = nil
    elseif type(value) == 'number' then
      check(value)
    end
  end
end

-- Return the record and the payload of a value, without what has ended. Raise an error if there is none.
local function parse(value)
  local line = string.find(value, '\\n', 1, true)
  local record = cjson.decode(string.sub(value, 1, line - 1))
  local claim, result = record.claim, record.result
  prune(record)
  assert(record.version == {FORMAT_VERSION})
  if claim then
    local delivery, awaited = claim.delivery, claim.awaited
    assert(type(claim.owner) == 'string' and (delivery == nil or type(delivery) == 'string'))
    assert(awaited == nil or awaited == true or awaited == false)
    prune(claim)
    check(claim.since + claim.expires + (claim.message_expires or 0))
    if has_passed(claim.expires + {REMEMBERED_FOR}) then
      claim = nil
    end
  end
  if result then
    assert(type(result.owner) == 'string' and type(result.state) == 'string')
    prune(result)
    check(result.began + result.ended + (result.expires or 0) + (result.kept or 0))
    if has_passed(result.expires) and has_passed(result.kept) then
      result = nil
    end
  end
  record.claim, record.result = claim, result
  return record, string.sub(value, line + 1)
end
"""

READ = f"""
local readable, record, payload = pcall(parse, stored)
local unreadable
if not readable then
  record, payload = {{version = {FORMAT_VERSION}}}, ''
  unreadable = stored and string.sub(stored.err or stored, 1, 80)
end
local claim, result = record.claim, record.result
"""

# A result is answered as it is stored.
ANSWER = """
if result and not has_passed(result.expires) then
  return {at, stored}
end
"""

DECIDE = """
-- The arguments are the owner and the delivery of a claim that counts as lapsed, as '=' and the text, or nil.
-- The delivery of a queued claim is ''.
local function is_live(owner, delivery)
  return claim and not has_passed(claim.expires)
    and not (owner == '=' .. claim.owner and delivery == (claim.delivery and '=' .. claim.delivery or ''))
end

local function save()
  record.claim, record.result = claim, result
  write(key, record, payload)
end
"""

SHOW = """
local function show_claim(before)
  local previous = before and before.owner ~= claim.owner and before.owner or nil
  return {at, cjson.encode({claim = claim, previous = previous})}
end
"""

AWAIT = """
local function await_claim()
  if not claim.awaited then
    claim.awaited = true
    save()
  end
  return show_claim()
end
"""

RUN = """
-- Whoever had the key, other than by the queued claim of this message, may still send a message for it.
local function run(owner, delivery, lease, since)
  local awaited = claim and (claim.awaited or claim.delivery or claim.owner ~= owner) and true or nil
  claim = {owner = owner, delivery = delivery, expires = text(now + lease), since = since, awaited = awaited}
  save()
end
"""

WRITE_INDEX = f"""
-- Store *result* under *name*, whatever result was there.
local function index(name, result, payload)
  local readable, record = pcall(parse, redis.pcall('GET', name))
  record = readable and record or {{version = {FORMAT_VERSION}}}
  record.result = result
  write(name, record, payload)
end
"""


def rule(decide: str, *tools: str, fresh: str = "", answer: str = "") -> Script:
    """Return the script that answers what the function body *decide* returns.

    :param tools: the functions that only some bodies use.
    :param fresh: what comes first, and returns an answer if nothing is stored. Most keys are fresh, so
        nothing else is built before.
    :param answer: what comes next, and returns a result that answers.
    """
    return Script(
        f"""{TIME}{GET}{fresh}{PARSE}{READ}{answer}{WRITE}{DECIDE}{"".join(tools)}
local function decide()
{decide}
end
local answer = decide()
return unreadable and {{'{UNREADABLE.decode()}', unreadable, answer}} or answer
"""
    )
