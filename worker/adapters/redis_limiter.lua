-- The twin of worker/core/bucket.py, atomically on the server and on the server's clock. One hash per account:
-- next_us, closed_until_us, seen_us. Microseconds since 1970 need 51 bits; Lua's doubles hold 53.
--
-- KEYS[1]  the account's bucket
-- ARGV     'reserve' fresh_wait_us interval_ns count span_us ahead_us_max
--          'give_back' fresh_wait_us unused_from_us next_us
--          'close' fresh_wait_us for_us
-- Returns  reserve: {count, first_us, next_us, now_us}; the others: {next_us, closed_until_us}

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- Tests drive the arithmetic with a clock of their own, as the last argument.
if ARGV[#ARGV - 1] == 'now_us' then now_us = tonumber(ARGV[#ARGV]) end

local held = redis.call('HMGET', KEYS[1], 'next_us', 'closed_until_us', 'seen_us')
local next_us = tonumber(held[1])
local closed_until_us = tonumber(held[2]) or 0
local seen_us = tonumber(held[3]) or now_us

local function on_clock()
  local back_us = math.max(0, seen_us - now_us)
  next_us = next_us - back_us
  closed_until_us = math.max(0, closed_until_us - back_us)
  seen_us = now_us
end

local function keep()
  redis.call('HSET', KEYS[1],
    'next_us', string.format('%.0f', next_us),
    'closed_until_us', string.format('%.0f', closed_until_us),
    'seen_us', string.format('%.0f', seen_us))
end

local command, fresh_wait_us = ARGV[1], tonumber(ARGV[2])

if command == 'reserve' then
  local interval_ns, count = tonumber(ARGV[3]), tonumber(ARGV[4])
  local span_us, ahead_us_max = tonumber(ARGV[5]), tonumber(ARGV[6])
  if not next_us then next_us = now_us + fresh_wait_us end
  on_clock()
  local first_us = math.max(now_us, next_us, closed_until_us)
  if first_us > now_us + ahead_us_max then
    keep()
    return {0, first_us - ahead_us_max, next_us, now_us}
  end
  local granted = math.min(count, 1 + math.floor(span_us * 1000 / interval_ns))
  next_us = first_us + math.ceil(granted * interval_ns / 1000)
  keep()
  return {granted, first_us, next_us, now_us}
end

if command == 'give_back' then
  if next_us and next_us == tonumber(ARGV[4]) then
    next_us = tonumber(ARGV[3])
    keep()
  end
  return {next_us or 0, closed_until_us}
end

if command == 'close' then
  if not next_us then next_us = now_us + fresh_wait_us end
  on_clock()
  closed_until_us = math.max(closed_until_us, now_us + tonumber(ARGV[3]))
  keep()
  return {next_us, closed_until_us}
end

return redis.error_reply('ERR unknown limiter command ' .. tostring(command))
