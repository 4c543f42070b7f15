"""What Redis does in one step. Records are made and read in Python: scripts compare versions, and never decode JSON."""

from __future__ import annotations

PREFIX = "peeragent:"

_COMMON = """
local P = 'peeragent:'
local function state(id) return P .. 'task:' .. id .. ':state' end
local function next_of(session)
  -- The session's first open task is claimable; those behind it wait.
  local open = P .. 'open:' .. session
  local first = redis.call('ZRANGE', open, 0, 0)[1]
  while first and redis.call('EXISTS', state(first)) == 0 do
    -- Its time was over before anybody began it.
    redis.call('ZREM', open, first)
    first = redis.call('ZRANGE', open, 0, 0)[1]
  end
  if first and redis.call('HGET', state(first), 'status') == 'pending'
     and not redis.call('ZSCORE', P .. 'delayed', first) then
    redis.call('ZADD', P .. 'queue', redis.call('HGET', state(first), 'rank'), first)
  end
end
local function log(id, status, attempt, worker, at)
  redis.call('XADD', P .. 'log', '*', 'seq', redis.call('INCR', P .. 'log:seq'), 'task_id', id, 'status', status,
             'attempt', attempt, 'worker', worker, 'at', at)
end
local function save_session(id, owner, version, record, ttl)
  local key = P .. 'session:' .. id
  local held = redis.call('HMGET', key, 'owner', 'version')
  if held[1] and held[1] ~= owner then return 'owner' end
  if (held[2] or '0') ~= version then return 'conflict' end
  redis.call('HSET', key, 'owner', owner, 'version', tonumber(version) + 1, 'record', record)
  redis.call('PEXPIRE', key, ttl)
  return 'ok'
end
"""

ADD = (
    _COMMON
    + """
-- 1 id, 2 record, 3 status, 4 attempts, 5 owner, 6 session, 7 created, 8 rank, 9 ttl, 10 queued, 11 lease until,
-- 12 worker, 13 now; 14 on: id, owner, version, record, ttl of a session to be saved with it
local id = ARGV[1]
if ARGV[14] then
  local saved = save_session(ARGV[14], ARGV[15], ARGV[16], ARGV[17], ARGV[18])
  if saved ~= 'ok' then return saved end
end
redis.call('SET', P .. 'task:' .. id, ARGV[2], 'PX', ARGV[9])
redis.call('HSET', state(id), 'status', ARGV[3], 'attempts', ARGV[4], 'session', ARGV[6], 'rank', ARGV[8],
           'queued', ARGV[10], 'version', 1)
redis.call('PEXPIRE', state(id), ARGV[9])
redis.call('ZADD', P .. 'task:index', ARGV[7], id)
redis.call('ZADD', P .. 'index:owner:' .. ARGV[5], ARGV[7], id)
redis.call('PEXPIRE', P .. 'index:owner:' .. ARGV[5], ARGV[9])
redis.call('ZADD', P .. 'index:session:' .. ARGV[6], ARGV[7], id)
redis.call('PEXPIRE', P .. 'index:session:' .. ARGV[6], ARGV[9])
if ARGV[10] == '1' then
  redis.call('ZADD', P .. 'open:' .. ARGV[6], redis.call('INCR', P .. 'open:seq'), id)
  redis.call('PEXPIRE', P .. 'open:' .. ARGV[6], ARGV[9])
  next_of(ARGV[6])
end
if ARGV[11] ~= '' then redis.call('ZADD', P .. 'leases', ARGV[11], id) end
log(id, ARGV[3], ARGV[4], ARGV[12], ARGV[13])
return 'ok'
"""
)

CHANGE = (
    _COMMON
    + """
-- 1 id, 2 version that was read, 3 record, 4 status, 5 attempts, 6 lease until or '', 7 not before or '', 8 worker,
-- 9 now, 10 ttl of events, 11 number of events, then these; then id, owner, version, record, ttl of a session
local id = ARGV[1]
local held = redis.call('HMGET', state(id), 'version', 'session', 'queued')
if not held[1] then return 'gone' end
if held[1] ~= ARGV[2] then return 'changed' end
local events = tonumber(ARGV[11])
local rest = 12 + events
if ARGV[rest] then
  local saved = save_session(unpack(ARGV, rest, rest + 4))
  if saved ~= 'ok' then return saved end
end
redis.call('SET', P .. 'task:' .. id, ARGV[3], 'KEEPTTL')
redis.call('HSET', state(id), 'status', ARGV[4], 'attempts', ARGV[5], 'version', tonumber(ARGV[2]) + 1)
if events > 0 then
  for i = 12, rest - 1 do redis.call('RPUSH', P .. 'events:' .. id, ARGV[i]) end
  redis.call('PEXPIRE', P .. 'events:' .. id, ARGV[10])
end
redis.call('ZREM', P .. 'queue', id)
if ARGV[6] ~= '' then redis.call('ZADD', P .. 'leases', ARGV[6], id) else redis.call('ZREM', P .. 'leases', id) end
if ARGV[7] ~= '' then redis.call('ZADD', P .. 'delayed', ARGV[7], id) end
if ARGV[4] == 'completed' or ARGV[4] == 'failed' or ARGV[4] == 'cancelled' then
  redis.call('ZREM', P .. 'open:' .. held[2], id)
  redis.call('ZREM', P .. 'delayed', id)
end
if held[3] == '1' then next_of(held[2]) end
log(id, ARGV[4], ARGV[5], ARGV[8], ARGV[9])
return 'ok'
"""
)

PICK = (
    _COMMON
    + """
-- 1 now, 2 lease until, 3 most attempts. Gives the id of a task that nobody else gets now; what was tried too often is
-- left in the leases, where `expire` finds it.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'delayed', '-inf', ARGV[1], 'LIMIT', 0, 100)) do
  redis.call('ZREM', P .. 'delayed', id)
  local session = redis.call('HGET', state(id), 'session')
  if session then next_of(session) end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', ARGV[1], 'LIMIT', 0, 100)) do
  local held = redis.call('HMGET', state(id), 'queued', 'attempts')
  if not held[1] then
    redis.call('ZREM', P .. 'leases', id)
  elseif held[1] == '1' and tonumber(held[2]) < tonumber(ARGV[3]) then
    redis.call('ZADD', P .. 'leases', ARGV[2], id)
    return id
  end
end
for _ = 1, 100 do
  local popped = redis.call('ZPOPMIN', P .. 'queue')
  local id = popped[1]
  if not id then return false end
  local held = redis.call('HMGET', state(id), 'status', 'attempts', 'session')
  if held[1] == 'pending' then
    redis.call('ZADD', P .. 'leases', ARGV[2], id)
    if tonumber(held[2]) < tonumber(ARGV[3]) then return id end
    redis.call('ZADD', P .. 'leases', ARGV[1], id)
  end
end
return false
"""
)

RENEW = (
    _COMMON
    + """
-- 1 id, 2 attempt, 3 lease until
local held = redis.call('HMGET', state(ARGV[1]), 'status', 'attempts')
if held[1] ~= 'processing' or held[2] ~= ARGV[2] then return 0 end
redis.call('ZADD', P .. 'leases', ARGV[3], ARGV[1])
return 1
"""
)

DELETE = (
    _COMMON
    + """
-- 1 id, 2 owner
local session = redis.call('HGET', state(ARGV[1]), 'session')
local gone = redis.call('DEL', P .. 'task:' .. ARGV[1])
redis.call('DEL', state(ARGV[1]), P .. 'events:' .. ARGV[1], P .. 'cancel:' .. ARGV[1])
for _, set in ipairs({'task:index', 'queue', 'delayed', 'leases', 'index:owner:' .. ARGV[2]}) do
  redis.call('ZREM', P .. set, ARGV[1])
end
if session then
  redis.call('ZREM', P .. 'open:' .. session, ARGV[1])
  redis.call('ZREM', P .. 'index:session:' .. session, ARGV[1])
  next_of(session)
end
return gone
"""
)

APPEND = """
-- 1 id, 2 ttl, then the events; gives the number that there were before
local key = 'peeragent:events:' .. ARGV[1]
local before = redis.call('LLEN', key)
for i = 3, #ARGV do redis.call('RPUSH', key, ARGV[i]) end
redis.call('PEXPIRE', key, ARGV[2])
return before
"""

SAVE_SESSION = _COMMON + "return save_session(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])"

ACQUIRE = """
-- 1 session, 2 holder, 3 ttl
local key = 'peeragent:hold:' .. ARGV[1]
local held = redis.call('GET', key)
if held and held ~= ARGV[2] then return held end
redis.call('SET', key, ARGV[2], 'PX', ARGV[3])
return false
"""

RELEASE = """
local key = 'peeragent:hold:' .. ARGV[1]
if redis.call('GET', key) == ARGV[2] then redis.call('DEL', key) end
return 1
"""

RESERVE = """
-- 1 key, 2 task, 3 fingerprint, 4 ttl
local key = 'peeragent:key:' .. ARGV[1]
local held = redis.call('HMGET', key, 'task', 'fingerprint')
if held[1] then return {held[1], held[2], 0} end
redis.call('HSET', key, 'task', ARGV[2], 'fingerprint', ARGV[3])
redis.call('PEXPIRE', key, ARGV[4])
return {ARGV[2], ARGV[3], 1}
"""

RELEASE_KEY = """
-- 1 key, 2 task
local key = 'peeragent:key:' .. ARGV[1]
if redis.call('HGET', key, 'task') == ARGV[2] then redis.call('DEL', key) end
return 1
"""

COUNT = """
-- 1 key, 2 window
local key = 'peeragent:count:' .. ARGV[1]
local hits = redis.call('INCR', key)
if hits == 1 then redis.call('PEXPIRE', key, ARGV[2]) end
return {hits, redis.call('PTTL', key)}
"""
