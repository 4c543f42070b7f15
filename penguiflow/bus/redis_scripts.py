"""What the server does in one step, in Lua.

An edge is a stream with one consumer group; what is on it and not yet read waits, what was read and not acknowledged is
leased. Beside it there are: `later`, when messages that were given back may be delivered again; `seen`, the ids that
were put; and `dead`, a stream of dead letters. A stream is never trimmed: an entry leaves it when it is acknowledged.

A lease is held by a consumer's name and the number of the delivery. Whoever acts on it says both; it must not be older
than the lease, by the server's clock.
"""

from __future__ import annotations

__all__ = ["ACK", "BURY", "DEPTH", "EXTEND", "GIVE_BACK", "NACK", "PRUNE", "PUT", "RETRY", "TAKE", "TELL"]

GROUP = "workers"
"""The consumer group of every edge."""
MAX_DEAD = 100_000
"""About so many dead letters of an edge are kept, the latest."""
_NOBODY = "~later"
"""The consumer that holds what was given back."""

_LEASES = f"""
local q, later, dead = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function held(consumer, lease, id, count)
  local found = redis.call('XPENDING', q, '{GROUP}', id, id, 1, consumer)[1]
  return found and found[3] < lease and found[4] == tonumber(count)
end
local function bury(id, count, reason)
  local entry = redis.call('XRANGE', q, id, id)[1]
  if entry then
    redis.call('XADD', dead, 'MAXLEN', '~', {MAX_DEAD}, '*',
      'i', entry[2][2], 'b', entry[2][4], 'r', reason, 'n', count)
  end
  redis.call('XACK', q, '{GROUP}', id)
  redis.call('XDEL', q, id)
end
local function give_back(id, at, ...)
  redis.call('XCLAIM', q, '{GROUP}', '{_NOBODY}', 0, id, 'JUSTID', ...)
  redis.call('ZADD', later, at, id)
end
"""

# KEYS: stream, seen. ARGV: capacity, window in ms, then id and body of each message. Returns how many were taken.
# Its first write is what needs memory: after another one, a server whose memory is full would let that pass.
PUT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local capacity, size = tonumber(ARGV[1]), redis.call('XLEN', KEYS[1])
local taken = 0
for i = 3, #ARGV, 2 do
  local before = redis.call('ZSCORE', KEYS[2], ARGV[i])
  if not before or tonumber(before) <= now - ARGV[2] then
    if capacity > 0 and size >= capacity then break end
    redis.call('XADD', KEYS[1], '*', 'i', ARGV[i], 'b', ARGV[i + 1])
    redis.call('ZADD', KEYS[2], now, ARGV[i])
    size = size + 1
  end
  taken = taken + 1
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[2])
return taken
"""

# As PUT, on an edge that is gone when nobody listens: then all are taken, and dropped.
TELL = "if redis.call('EXISTS', KEYS[1]) == 0 then return (#ARGV - 2) / 2 end" + PUT.replace(
    "return taken", "redis.call('PEXPIRE', KEYS[2], ARGV[2])\nreturn taken"
)

# ARGV: consumer, limit, lease in ms, deliveries, whether to look for leases that ran out, where to go on looking.
# Returns deliveries (entry, number, id, body), where to go on, the last entry of the stream, ms until the next is due.
TAKE = (
    _LEASES
    + f"""
local consumer, limit, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local most, cursor = tonumber(ARGV[4]), ARGV[6]
local out = {{}}
local function hand_over(id)
  local entry = redis.call('XCLAIM', q, '{GROUP}', consumer, 0, id)[1]
  if entry then
    local count = redis.call('XPENDING', q, '{GROUP}', id, id, 1)[1][4]
    out[#out + 1] = {{id, count, entry[2][2], entry[2][4]}}
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', later, '-inf', now, 'LIMIT', 0, limit)) do
  redis.call('ZREM', later, id)
  hand_over(id)
end
if ARGV[5] == '1' then
  local over = redis.call('XAUTOCLAIM', q, '{GROUP}', '{_NOBODY}', lease, cursor, 'COUNT', 100, 'JUSTID')
  cursor = over[1]
  for _, id in ipairs(over[2]) do
    if not redis.call('ZSCORE', later, id) then
      local count = redis.call('XPENDING', q, '{GROUP}', id, id, 1)[1][4]
      if count >= most then
        bury(id, count, 'its lease ran out')
      elseif #out < limit then
        hand_over(id)
      else
        redis.call('ZADD', later, now, id)
      end
    end
  end
end
if #out < limit then
  local new = redis.call('XREADGROUP', 'GROUP', '{GROUP}', consumer, 'COUNT', limit - #out, 'STREAMS', q, '>')
  for _, entry in ipairs(new and new[1][2] or {{}}) do
    out[#out + 1] = {{entry[1], 1, entry[2][2], entry[2][4]}}
  end
end
local last, due = '', -1
if #out == 0 then
  local about = redis.call('XINFO', 'STREAM', q)
  for i = 1, #about, 2 do
    if about[i] == 'last-generated-id' then last = about[i + 1] end
  end
  local first = redis.call('ZRANGE', later, 0, 0, 'WITHSCORES')
  if first[2] then due = math.max(0, math.ceil(first[2] - now)) end
end
return {{out, cursor, last, due}}
"""
)

# For those that are still leased. ARGV: consumer, lease in ms, then entry and number of each delivery. Returns 1 or 0
# for each: whether it was.
_EACH_HELD = (
    _LEASES
    + """
local out = {}
for i = 3, #ARGV, 2 do
  local leased = held(ARGV[1], tonumber(ARGV[2]), ARGV[i], ARGV[i + 1])
  if leased then
    %s
  end
  out[#out + 1] = leased and 1 or 0
end
return out
"""
)
ACK = _EACH_HELD % f"redis.call('XACK', q, '{GROUP}', ARGV[i]) redis.call('XDEL', q, ARGV[i])"
EXTEND = _EACH_HELD % f"redis.call('XCLAIM', q, '{GROUP}', ARGV[1], 0, ARGV[i], 'JUSTID')"
# As if it had never been delivered.
GIVE_BACK = _EACH_HELD % "give_back(ARGV[i], now, 'RETRYCOUNT', ARGV[i + 1] - 1)"

# ARGV: consumer, lease in ms, entry, number of the delivery, deliveries, delay in ms. Returns 1 or 0.
NACK = (
    _LEASES
    + """
if not held(ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]) then return 0 end
if tonumber(ARGV[4]) >= tonumber(ARGV[5]) then
  bury(ARGV[3], ARGV[4], 'given back on its last delivery')
else
  give_back(ARGV[3], now + ARGV[6], 'IDLE', 0)
end
return 1
"""
)

# ARGV: consumer, lease in ms, entry, number of the delivery, reason. Returns 1 or 0.
BURY = (
    _LEASES
    + """
if not held(ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]) then return 0 end
bury(ARGV[3], ARGV[4], ARGV[5])
return 1
"""
)

# ARGV: capacity, entry in the dead letters. Returns 1, 0 when it is gone, -1 when there is no room.
RETRY = (
    _LEASES
    + """
local letter = redis.call('XRANGE', dead, ARGV[2], ARGV[2])[1]
if not letter then return 0 end
local capacity = tonumber(ARGV[1])
if capacity > 0 and redis.call('XLEN', q) >= capacity then return -1 end
redis.call('XADD', q, '*', 'i', letter[2][2], 'b', letter[2][4])
redis.call('XDEL', dead, ARGV[2])
return 1
"""
)

# Returns how many are on the edge, how many of them are leased, and how many are dead.
DEPTH = (
    _LEASES
    + f"""
return {{redis.call('XLEN', q), redis.call('XPENDING', q, '{GROUP}')[1], redis.call('XLEN', dead)}}
"""
)

# Forgets consumers that hold nothing. ARGV: a consumer's name, or '' for all that did nothing for so long; ms.
PRUNE = (
    _LEASES
    + f"""
for _, about in ipairs(redis.call('XINFO', 'CONSUMERS', q, '{GROUP}')) do
  local name, holds, idle = about[2], about[4], about[6]
  if holds == 0 and (name == ARGV[1] or (ARGV[1] == '' and idle > tonumber(ARGV[2]))) then
    redis.call('XGROUP', 'DELCONSUMER', q, '{GROUP}', name)
  end
end
return 1
"""
)
