"""The decisions of the Redis store, as scripts that Redis runs: the rules of :mod:`.decisions`, in Lua.

Each works on one key, a hash with the fields ``owner``, ``expires`` and ``waited`` of a claim, and
``result_owner``, ``result_expires``, ``result_kept`` and ``payload`` of a result. Times are text, with all
digits of the number, so that what is read later equals what was answered. An end of ``''`` is for ever.

What a script writes first is what a full or read-only server refuses, so it is done or not, never half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ..rules import LAPSED_CLAIMS

__all__ = ["ADMIT", "EXTEND", "FORGET", "IDENTIFY", "LOOKUP", "RELEASE", "SETTLE", "Script", "pack"]


def pack(*words: bytes) -> bytes:
    """A command as it is sent to Redis."""
    return b"*%d\r\n%b" % (len(words), _packed(words))


def _packed(words: Iterable[bytes]) -> bytes:
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


class Script:
    """A script by the digest that Redis knows it by, and by its text where Redis does not."""

    def __init__(self, text: str) -> None:
        self._text = text.encode()
        digest = hashlib.sha1(self._text, usedforsecurity=False).hexdigest().encode()
        self._begin = _packed((b"EVALSHA", digest, b"1"))

    def by_digest(self, name: bytes, *words: bytes) -> bytes:
        """The command that runs it on the key *name*, if Redis knows it."""
        return b"*%d\r\n%b%b" % (len(words) + 4, self._begin, _packed((name, *words)))

    def by_text(self, name: bytes, *words: bytes) -> bytes:
        """As :meth:`by_digest`, from where on Redis knows it."""
        return pack(b"EVAL", self._text, b"1", name, *words)


# The first argument is the time, or '' for the server's own.
_READ = """
local key, now = KEYS[1], tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end
local owner, expires, waited, result_owner, result_expires, result_kept = unpack(redis.call(
  'HMGET', key, 'owner', 'expires', 'waited', 'result_owner', 'result_expires', 'result_kept'))
"""

_TOOLS = f"""
local function text(time)
  return string.format('%.17g', time)
end

local function lasts(ending)
  return ending and (ending == '' or now < tonumber(ending))
end

local function claim(previous)
  return {{'claim', owner, expires, waited, previous or false}}
end

local function result()
  return {{'result', result_owner, redis.call('HGET', key, 'payload'), result_expires, result_kept}}
end

local function drop_claim()
  redis.call('HDEL', key, 'owner', 'expires', 'waited')
  owner = false
end

local function drop_result()
  redis.call('HDEL', key, 'result_owner', 'result_expires', 'result_kept', 'payload')
  result_owner = false
end

-- Let the key last for as long as something in it is of use. A lapsed claim is for a while: it is still
-- its owner's, and tells who was before.
local function keep()
  if result_owner and not lasts(result_kept) then
    drop_result()
  end
  if result_owner and result_kept == '' then
    redis.call('PERSIST', key)
  else
    local claimed = owner and math.max(expires, now) + {LAPSED_CLAIMS} or 0
    local last = math.max(claimed, result_owner and result_kept or 0)
    local left = math.min(math.ceil((last - now) * 1000), 1e15)
    redis.call('PEXPIRE', key, string.format('%.0f', math.max(0, left)))
  end
end
"""

_BEGIN = _READ + _TOOLS

LOOKUP = Script(
    _BEGIN
    + """
if result_owner and lasts(result_expires) then
  return result()
end
return owner and lasts(expires) and claim() or nil
"""
)

# The time, the owner, its lease, whom it waited for, who has ended (these two as '=' and the owner, or ''),
# and '1' if it waits. Of most keys nothing is known: then the answer is the end of the new claim alone.
ADMIT = Script(
    _READ
    + f"""
local me, lease, waited_for, stale = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
if not owner and not result_owner then
  local ends = string.format('%.17g', now + lease)
  redis.call('HSET', key, 'owner', me, 'expires', ends)
  local left = math.min(math.ceil((math.max(lease, 0) + {LAPSED_CLAIMS}) * 1000), 1e15)
  redis.call('PEXPIRE', key, string.format('%.0f', left))
  return ends
end
"""
    + _TOOLS
    + """
if result_owner and lasts(waited_for == '=' .. result_owner and result_kept or result_expires) then
  return result()
end
local others = owner and owner ~= me
if others and lasts(expires) and stale ~= '=' .. owner then
  if not waited and ARGV[6] == '1' then
    redis.call('HSET', key, 'waited', '1')
    waited = '1'
  end
  return claim()
end
local previous = others and owner
owner, expires = me, text(now + lease)
redis.call('HSET', key, 'owner', owner, 'expires', expires)
if others and waited then
  redis.call('HDEL', key, 'waited')
  waited = false
end
keep()
return claim(previous)
"""
)

# The time, the owner and its lease.
EXTEND = Script(
    _BEGIN
    + """
if owner ~= ARGV[2] or not lasts(expires) then
  return 0
end
expires = text(now + tonumber(ARGV[3]))
redis.call('HSET', key, 'expires', expires)
keep()
return 1
"""
)

# The time, the owner, the payload, how long it answers ('' is for ever), and how long those who waited.
SETTLE = Script(
    _BEGIN
    + """
local me, payload, ttl, handover = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local mine = owner == me
if not mine and (owner and lasts(expires) or result_owner and lasts(result_expires)) then
  return 0
end
local ends = ttl and text(now + ttl) or ''
local kept = ends
if ttl and mine and waited then
  kept = text(now + math.max(ttl, handover))
end
if lasts(kept) then
  result_owner, result_expires, result_kept = me, ends, kept
  redis.call('HSET', key, 'result_owner', me, 'result_expires', ends, 'result_kept', kept, 'payload', payload)
end
if mine then
  drop_claim()
end
keep()
return 1
"""
)

# The time, the owner, and '1' to leave a claim that somebody waits for.
RELEASE = Script(
    _BEGIN
    + """
if owner ~= ARGV[2] or (ARGV[3] == '1' and waited) then
  return 0
end
drop_claim()
keep()
return 1
"""
)

# The time.
FORGET = Script(
    _BEGIN
    + """
local known = result_owner and lasts(result_expires)
if result_owner then
  drop_result()
  keep()
end
return known and 1 or 0
"""
)

# A text for the identity of a database that has none yet.
IDENTIFY = Script(
    """
local identity = redis.call('GET', KEYS[1])
if not identity then
  identity = ARGV[1]
  redis.call('SET', KEYS[1], identity)
end
return identity
"""
)
