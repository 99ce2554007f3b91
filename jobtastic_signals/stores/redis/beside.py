"""What a Redis store has beside its entries, and the scripts for it: marks of scopes, counts, an identity.

The mark of a scope is the time at which it was last forgotten. Counts are a hash.
"""

from __future__ import annotations

from .commands import Script
from .lua import TIME

__all__ = ["COUNT", "COUNTS", "FORGET_SCOPE", "IDENTIFY", "MARK"]

# The time, and for how long that is known ('' for ever): for longer if it was to be before.
FORGET_SCOPE = Script(f"""{TIME}
local ttl, left = tonumber(ARGV[2]), redis.call('PTTL', key)
if not ttl or left == -1 then
  redis.call('SET', key, at)
else
  redis.call('SET', key, at, 'PX', milliseconds(math.max(ttl, left / 1000)))
end
""")

# Nothing. The answer is what FORGET_SCOPE stored.
MARK = Script("""
local mark = redis.pcall('GET', KEYS[1])
mark = type(mark) == 'string' and tonumber(mark)
return mark and string.format('%.17g', mark)
""")

_IS_OVER = """
local function is_over()
  local ends = redis.pcall('HGET', key, 'expires')
  ends = type(ends) == 'string' and tonumber(ends)
  return not ends or ends <= now
end
"""

# The time, how long the numbers are kept, and each name and its amount. A name has a '=' before it.
COUNT = Script(f"""{TIME}{_IS_OVER}
if is_over() then
  redis.call('DEL', key)
end
local ttl = tonumber(ARGV[2])
for number = 3, #ARGV, 2 do
  local name, amount = ARGV[number], ARGV[number + 1]
  if redis.pcall('HINCRBYFLOAT', key, name, amount).err then
    redis.call('HSET', key, name, amount)  -- It was no number.
  end
end
redis.call('HSET', key, 'expires', text(now + ttl))
redis.call('PEXPIRE', key, milliseconds(ttl))
""")

# The time.
COUNTS = Script(f"{TIME}{_IS_OVER}return not is_over() and redis.call('HGETALL', key)")

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
