"""What the scripts of the Redis store have in common: how they read, write and show a record.

Each key of the store is one string in Redis::

    {"version":1,"claim":{"owner":"...","since":"...","expires":"...",...},"next":{"owner":"...",...},
     "forgotten":"...","result":{"owner":"...",...}}
    payload of the result

The fields are those of :class:`.Entry`, :class:`.Claim` and :class:`.Result`. One that is absent is ``None``,
false, zero or empty. Times are texts, since Lua's JSON would round them. It cannot tell an empty list from an
empty object, so there is none. Texts and booleans that a later version adds survive a change.
A value that is not like this counts as absent. The answer then carries the beginning of that value.

Each script writes the call's own key first. A full or read-only server refuses that, so a script is carried
out or changes nothing.
"""

from __future__ import annotations

from ..entry import FORMAT_VERSION, REMEMBERED_FOR
from .commands import Script

__all__ = [
    "LONE_CLAIM",
    "MARKS",
    "MARKS_IF_NEEDED",
    "PARSE",
    "RELY",
    "RUN",
    "SCOPES",
    "TIME",
    "UNKNOWN",
    "UNREADABLE",
    "WRITE",
    "rule",
]

#: The first element of an answer that found a value that cannot be read.
UNREADABLE = b"unreadable"

#: What answers the word :data:`UNKNOWN` if it matters when the scopes of the key were forgotten.
SCOPES, UNKNOWN = b"scopes", b"?"

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

-- An end that is nil never comes.
local function has_passed(ends)
  return ends ~= nil and tonumber(ends) <= now
end

-- Redis takes whole milliseconds. It must not drop a record too early.
local function milliseconds(seconds)
  return string.format('%d', math.min(seconds * 1000 + 1, 1e15))
end
"""

WRITE = f"""
-- Store a record, for as long as a store has to keep it.
local function write(name, record, payload)
  local claim, result, forgotten = record.claim, record.result, record.forgotten
  local ends = math.max(claim and claim.expires or 0, forgotten or 0) + {REMEMBERED_FOR}
  if result then
    ends = math.max(ends, result.expires or ends, result.kept or ends, result.stale_until or 0)
  elseif not claim and not forgotten or ends <= now then
    redis.call('DEL', name)
    return
  end
  local value = cjson.encode(record) .. '\\n' .. (result and payload or '')
  if result and not (result.expires and result.kept) then
    redis.call('SET', name, value)
  else
    redis.call('SET', name, value, 'PX', milliseconds(ends - now))
  end
end
"""

# The mark is when the scopes of the key were last forgotten, if that is known.
GET = """
local mark
local stored = redis.pcall('GET', key)
if type(stored) == 'table' and string.sub(stored.err, 1, 9) ~= 'WRONGTYPE' then
  return stored
end
"""

# Most scripts find nothing, or nothing but the claim of their own message. That is stored with its fields in
# this order, so that it is known by its text: to decode and to check it takes longer.
LONE_CLAIM = f"""
-- Return the text of a lone claim up to its times.
local function lone_claim(owner, delivery)
  local token = delivery and ',"delivery":' .. cjson.encode(delivery) or ''
  return '{{"version":{FORMAT_VERSION},"claim":{{"owner":' .. cjson.encode(owner) .. token .. ',"since":"'
end

-- Store nothing but a claim that begins now. *More* is the text of its other fields.
local function store_lone_claim(owner, delivery, lease, more)
  local times = at .. '","expires":"' .. text(now + lease) .. '"'
  local value = lone_claim(owner, delivery) .. times .. more .. '}}}}\\n'
  redis.call('SET', key, value, 'PX', milliseconds(lease + {REMEMBERED_FOR}))
end

-- Return since when this claim is there, if nothing else is, and nobody has joined, left or waits.
local function since_when_alone(owner, delivery)
  local start = lone_claim(owner, delivery)
  if type(stored) == 'string' and string.sub(stored, 1, #start) == start then
    local rest = '^(%d+%.?%d*)","expires":"(%d+%.?%d*)"}}}}\\n$'
    local since, expires = string.match(stored, rest, #start + 1)
    return since and not has_passed(expires + {REMEMBERED_FOR}) and since or nil
  end
end
"""

PARSE = f"""
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

-- Raise an error unless these are the fields of a claim.
local function check_claim(claim)
  local delivery, awaited, fresh, left = claim.delivery, claim.awaited, claim.fresh, claim.left
  assert(type(claim.owner) == 'string' and (delivery == nil or type(delivery) == 'string'))
  assert((awaited == nil or type(awaited) == 'boolean') and (fresh == nil or type(fresh) == 'boolean'))
  assert(claim.joined == nil or claim.joined >= 0 and claim.joined % 1 == 0)
  check(claim.since + claim.expires + (claim.message_expires or 0))
  prune(claim)
  if left ~= nil then
    for number, seat in pairs(left) do
      assert(type(number) == 'number' and type(seat) == 'string')
    end
    claim.left = left[1] and left
  end
end

-- Return the record and the payload of a value, without what has ended. Raise an error if there is none.
local function parse(value)
  local line = string.find(value, '\\n', 1, true)
  local record = cjson.decode(string.sub(value, 1, line - 1))
  local claim, following, forgotten, result = record.claim, record.next, record.forgotten, record.result
  prune(record)
  assert(record.version == {FORMAT_VERSION})
  if following then
    check_claim(following)
  end
  if claim then
    check_claim(claim)
    if has_passed(claim.expires + {REMEMBERED_FOR}) then
      claim, following = nil, nil
    end
  end
  if result then
    local stale_until = result.stale_until
    assert(type(result.owner) == 'string' and type(result.state) == 'string')
    prune(result)
    check(result.began + result.ended + (result.expires or 0) + (result.kept or 0) + (stale_until or 0))
    if has_passed(result.expires) and has_passed(result.kept) and has_passed(stale_until or 0) then
      result = nil
    end
  end
  if forgotten then
    check(forgotten + 0)
    if not claim and not result and has_passed(forgotten + {REMEMBERED_FOR}) then
      forgotten = nil
    end
  end
  record.claim, record.next, record.forgotten, record.result = claim, following, forgotten, result
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
local claim, following, result = record.claim, record.next, record.result
local forgotten = tonumber(record.forgotten)

-- Return when a run that *began* then was last forgotten, if it was.
local function forgotten_since(began)
  local last = mark and forgotten and math.max(mark, forgotten) or mark or forgotten
  return last and tonumber(began) <= last and last or nil
end
"""

# The names of the scopes are the keys from the second on. In a cluster, other servers have them. Then the
# second argument is the time at which one of them was last forgotten.
MARKS = """
local function read_marks(last)
  mark = tonumber(ARGV[2])
  for number = 2, last do
    local time = redis.pcall('GET', KEYS[number])
    time = type(time) == 'string' and tonumber(time)
    mark = time and mark and math.max(time, mark) or time or mark
  end
end
"""

# Read them if it matters. Without them in a cluster, the second argument is UNKNOWN.
MARKS_IF_NEEDED = f"""
{MARKS}
if result or claim and claim.delivery then
  if ARGV[2] == '{UNKNOWN.decode()}' then
    return '{SCOPES.decode()}'
  end
  read_marks(#KEYS)
end
"""

DECIDE = """
-- The arguments are the owner and the delivery of a claim that counts as lapsed, as '=' and the text, or nil.
-- The delivery of a queued claim is ''.
local function is_live(owner, delivery)
  return claim and not has_passed(claim.expires)
    and not (owner == '=' .. claim.owner and delivery == (claim.delivery and '=' .. claim.delivery or ''))
end

local function live_next()
  return following and not has_passed(following.expires) and following or nil
end

local function is_stale()
  return has_passed(result.expires) and result.stale_until and not has_passed(result.stale_until)
end

-- Return whether everybody has left a claim.
local function is_abandoned(claim)
  return claim.left ~= nil and #claim.left > (claim.joined or 0)
end

local function save()
  record.claim, record.next, record.forgotten, record.result = claim, following, text(forgotten), result
  write(key, record, payload)
end
"""

RELY = """
-- Return true if messages of others may ask for the result of *owner*, if it takes the key.
local function others_rely(owner)
  local relies = claim and (claim.awaited or claim.owner ~= owner)
  return (relies or following and (following.awaited or following.owner ~= owner)) and true or nil
end
"""

RUN = """
-- Whoever had the key, other than by the queued claim of this message, may still send a message for it.
local function run(owner, delivery, lease, since)
  local awaited = others_rely(owner) or claim and claim.delivery and true or nil
  local own = claim and claim.owner == owner and claim or following and following.owner == owner and following
  claim = {owner = owner, delivery = delivery, expires = text(now + lease), since = since, awaited = awaited}
  claim.joined, claim.left = own and own.joined or nil, own and own.left or nil
  following = nil
  save()
end
"""


def rule(decide: str, *tools: str, usual: tuple[str, ...] = (), answer: str = "", marks: str = "") -> Script:
    """Return the script that answers what the function body *decide* returns.

    :param tools: the functions that only some bodies use.
    :param usual: what comes first, and returns the answer in the usual case. To make the functions of all
        other cases takes as long as that.
    :param marks: what comes next, and finds out when the scopes of the key were forgotten.
    :param answer: what comes next, and returns a result that answers.
    """
    decision = f"""
local function decide()
{decide}
end
local answer = decide()
return unreadable and {{'{UNREADABLE.decode()}', unreadable, answer}} or answer
"""
    parts = TIME, GET, *usual, PARSE, READ, marks, answer, WRITE, DECIDE, *tools, decision
    return Script("".join(dict.fromkeys(parts)))  # Each once, where it is needed first.
