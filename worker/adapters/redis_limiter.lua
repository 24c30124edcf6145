-- The twin of worker/core/bucket.py and worker/core/pace.py, atomically on the server and on the server's clock: the
-- same names, the same order of operations, in IEEE doubles. One hash per account, so that people can read it.
-- Microseconds since 1970 need 51 bits; Lua's doubles hold 53.
--
-- KEYS[1]  the account's bucket
-- ARGV     'reserve' limit_micro count span_us lead_us wait_us seen_us late_us late_shift_us jobs guard_ns is_probe
--                    answered_us has_stalled
--          'give_back' used next_us
--          'refuse' limit_micro slot_us spread_ns retry_after_us channel account
--          'suspend' reason channel account
--          'fail' slot_us channel account
-- Returns  reserve: {count, first_us, interval_ns, next_us, now_us, shift_us, guard_ns, lowered to (micro, 0: not),
--                    closed_until_us, worst rolling second, suspended}
--          refuse: {reaction}; fail: {1 when that suspends the account}; the others: {}

-- core/bucket.py
local SECOND_US, AHEAD_US_MAX, FRESH_WAIT_US, LOWERED_CLOSE_US = 1000000, 800000, 1000000, 500000
local FAILURES_MAX, API_AILING, STALL_TELLS_US = 3, 'api', 3000000
local SUSPENDED_ASK_US, REMEMBERED_US, REFUSALS_REMEMBERED, WORST_OF_US = 1000000, 1500000, 256, 60000000
-- core/pace.py
local MICRO, SECOND_NS = 1000000, 1000000000
local GUARD_NS_FIRST, GUARD_NS_MIN, GUARD_NS_MAX, GUARD_STEP_NS_MIN = 7500000, 2000000, 100000000, 500000
local GUARD_UP_MIN, GUARD_DOWN, GUARD_DOWN_FAST = 1.1, 4e-5, 2e-3
local BUDGET_SLOTS, CONFIRMED_WITHIN_US, SPREAD_NS_MAX, SPREAD_SHARE = 1000, 10000000, 50000000, 0.8
local FULL_SHARE, PEAK_DIP, PLATEAU_S, GROWTH, CUT_MIN, PEAK_MIN = 0.9, 0.1, 16.0, 2e-4, 0.4, 0.05

local NUMBERS = {'next_us', 'closed_until_us', 'seen_us', 'shift_us', 'reacted_us', 'slots', 'jobs', 'refusals',
  'worst_now', 'worst_before', 'worst_from_us', 'guard_ns', 'calm_guard_ns', 'proven_guard_ns', 'raised_us',
  'slots_since', 'peak_micro', 'cut_us', 'failures', 'failed_us', 'resumed_us', 'stalled_us'}
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
-- Tests drive the arithmetic with a clock of their own, as the last argument.
if ARGV[#ARGV - 1] == 'now_us' then now_us = tonumber(ARGV[#ARGV]) end

-- The bucket ---------------------------------------------------------------------------------------------

local function read()
  local held = redis.call('HMGET', KEYS[1], 'rows', 'refused_us', 'suspended', unpack(NUMBERS))
  local b = {rows = {}, refused_us = {}, suspended = held[3] or ''}
  for n, name in ipairs(NUMBERS) do
    b[name] = tonumber(held[3 + n] or nil)
    -- Nothing there, or what another release left: as good as forgotten, and written anew in full.
    if not b[name] then return nil end
  end
  for first_us, count, interval in string.gmatch(held[1] or '', '(-?%d+),(%d+),(%d+)') do
    b.rows[#b.rows + 1] = {first_us = tonumber(first_us), count = tonumber(count), interval = tonumber(interval)}
  end
  for at_us in string.gmatch(held[2] or '', '-?%d+') do b.refused_us[#b.refused_us + 1] = tonumber(at_us) end
  return b
end

local function keep(b)
  local fields = {KEYS[1], 'suspended', b.suspended}
  local function add(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  for _, name in ipairs(NUMBERS) do add(name, string.format('%.0f', b[name])) end
  local rows, refused = {}, {}
  for n, row in ipairs(b.rows) do rows[n] = string.format('%.0f,%.0f,%.0f', row.first_us, row.count, row.interval) end
  for n, at_us in ipairs(b.refused_us) do refused[n] = string.format('%.0f', at_us) end
  add('rows', table.concat(rows, ' '))
  add('refused_us', table.concat(refused, ' '))
  redis.call('HSET', unpack(fields))
end

local function on_clock(b, guard_ns)
  if not b then
    return {next_us = now_us + FRESH_WAIT_US, closed_until_us = 0, seen_us = now_us, shift_us = 0, reacted_us = 0,
      slots = 0, jobs = 0, refusals = 0, worst_now = 0, worst_before = 0, worst_from_us = now_us, guard_ns = guard_ns,
      calm_guard_ns = guard_ns, proven_guard_ns = 0, raised_us = 0, slots_since = 0, peak_micro = 0, cut_us = 0,
      failures = 0, failed_us = 0, resumed_us = 0, stalled_us = 0, suspended = '', rows = {}, refused_us = {}}
  end
  local back_us = max(0, b.seen_us - now_us)
  b.seen_us = now_us
  if back_us > 0 then
    b.next_us = b.next_us - back_us
    b.stalled_us = max(0, b.stalled_us - back_us)
    b.closed_until_us = max(0, b.closed_until_us - back_us)
    b.reacted_us = b.reacted_us - back_us
    b.worst_from_us = b.worst_from_us - back_us
    b.failed_us = max(0, b.failed_us - back_us)
    b.resumed_us = max(0, b.resumed_us - back_us)
    for _, row in ipairs(b.rows) do row.first_us = row.first_us - back_us end
    for n, at_us in ipairs(b.refused_us) do b.refused_us[n] = at_us - back_us end
    b.raised_us = max(0, b.raised_us - back_us)
    if b.cut_us > 0 then b.cut_us = max(1, b.cut_us - back_us) end
  end
  return b
end

local function slot_us(row, n) return row.first_us + floor(n * row.interval / 1000) end

local function within(row, after_us, before_us)
  local first = max(0, floor((after_us - row.first_us) * 1000 / row.interval) + 1)
  local last = min(row.count - 1, ceil((before_us - row.first_us) * 1000 / row.interval) - 1)
  return max(0, last - first + 1)
end

-- The pace -----------------------------------------------------------------------------------------------

local function rate_micro(b, limit)
  if b.cut_us == 0 then return limit end
  local since_s, rate = (now_us - b.cut_us) / 1e6, nil
  if since_s < PLATEAU_S then
    local below = 1 - since_s / PLATEAU_S
    rate = b.peak_micro * (1 - PEAK_DIP * below * below * below)
  else
    local beyond_s = since_s - PLATEAU_S
    rate = b.peak_micro + limit * GROWTH * beyond_s * beyond_s * beyond_s
  end
  return max(1, floor(min(rate, limit)))
end

local function interval_ns(b, limit) return ceil((SECOND_NS + b.guard_ns) * MICRO / rate_micro(b, limit)) end

local function after_slots(b, count, limit)
  b.slots_since = b.slots_since + count
  if b.cut_us > 0 then
    if rate_micro(b, limit) < limit then return end
    b.peak_micro, b.cut_us = 0, 0
  end
  local is_on_trial = 0 < b.proven_guard_ns and b.proven_guard_ns < b.guard_ns
  local down = is_on_trial and GUARD_DOWN_FAST or GUARD_DOWN
  b.guard_ns = max(GUARD_NS_MIN, floor(b.guard_ns * max(0.5, 1 - down * count)))
end

local function raise_guard(b, spread_ns)
  local is_new = now_us - b.raised_us > 2 * MICRO
  local has_stalled = now_us - b.stalled_us < STALL_TELLS_US
  local is_soon = now_us - b.raised_us < CONFIRMED_WITHIN_US or not has_stalled
  local is_confirmed = b.proven_guard_ns > 0 and b.slots_since < BUDGET_SLOTS and is_soon
  local least_ns = max(floor(b.guard_ns * GUARD_UP_MIN), b.guard_ns + GUARD_STEP_NS_MIN)
  local jitter_ns = 2 * b.guard_ns
  if spread_ns > 0 then jitter_ns = floor(min(spread_ns, SPREAD_NS_MAX) / SPREAD_SHARE) end
  local guard_ns = min(GUARD_NS_MAX, max(least_ns, floor((b.guard_ns + jitter_ns) / 2)))
  if is_new then b.calm_guard_ns = b.guard_ns end
  b.proven_guard_ns = is_confirmed and guard_ns or least_ns
  b.guard_ns, b.raised_us, b.slots_since = guard_ns, now_us, 0
end

local function cut(b, admitted, limit)
  local rate = rate_micro(b, limit)
  b.peak_micro = min(rate, max(admitted * MICRO, floor(rate * CUT_MIN)))
  b.peak_micro = max(1, b.peak_micro, floor(limit * PEAK_MIN))
  if now_us - b.raised_us <= 2 * MICRO then b.guard_ns = b.calm_guard_ns end
  b.cut_us = now_us
end

-- The commands -------------------------------------------------------------------------------------------

local function take(b, row)
  local last_us, rows, worst = slot_us(row, row.count - 1), {}, 1
  for _, kept in ipairs(b.rows) do
    if slot_us(kept, kept.count) >= now_us - REMEMBERED_US then rows[#rows + 1] = kept end
  end
  rows[#rows + 1] = row
  for _, kept in ipairs(rows) do worst = worst + within(kept, last_us - SECOND_US, last_us) end
  if now_us - b.worst_from_us >= WORST_OF_US then
    b.worst_before, b.worst_now, b.worst_from_us = b.worst_now, worst, now_us
  else
    b.worst_now = max(b.worst_now, worst)
  end
  b.next_us = row.first_us + ceil(row.count * row.interval / 1000)
  b.rows, b.slots = rows, b.slots + row.count
end

local function without_promises(b)
  local rows = {}
  for _, row in ipairs(b.rows) do
    local count = max(0, min(row.count, floor((now_us - row.first_us) * 1000 / row.interval) + 1))
    b.slots = b.slots - (row.count - count)
    row.count = count
    if count > 0 then rows[#rows + 1] = row end
  end
  b.rows, b.next_us = rows, min(b.next_us, b.closed_until_us)
end

local commands = {}

function commands.reserve(limit, count, span_us, lead_us, wait_us, wish_seen_us, late_us, late_shift_us, jobs, guard_ns, is_probe,
    answered_us, has_stalled)
  local b = read()
  if b and b.seen_us < wish_seen_us then wait_us = FRESH_WAIT_US end
  b = on_clock(b, guard_ns)
  -- Not by more than this departure was late: a store that lost its memory has forgotten all that came before.
  local shift_by_us = min(late_us, max(0, late_shift_us + late_us - b.shift_us))
  b.next_us = max(b.next_us + shift_by_us, now_us + wait_us)
  b.shift_us = b.shift_us + shift_by_us
  if has_stalled == 1 then b.stalled_us = now_us end
  b.jobs = b.jobs + jobs
  if answered_us > b.failed_us then b.failures = 0 end
  local interval = interval_ns(b, limit)
  local first_us = max(now_us + lead_us, b.next_us, b.closed_until_us)
  local row
  if b.suspended ~= '' and is_probe == 0 then
    row = {first_us = now_us + SUSPENDED_ASK_US, count = 0, interval = interval}
  elseif first_us > now_us + max(AHEAD_US_MAX, lead_us) then
    row = {first_us = first_us - AHEAD_US_MAX, count = 0, interval = interval}
  else
    row = {first_us = first_us, count = min(count, 1 + floor(span_us * 1000 / interval)), interval = interval}
    take(b, row)
    after_slots(b, row.count, limit)
  end
  keep(b)
  local lowered = 0
  if b.cut_us > 0 then lowered = rate_micro(b, limit) end
  return {row.count, row.first_us, row.interval, b.next_us, now_us, b.shift_us, b.guard_ns, lowered,
    b.closed_until_us, max(b.worst_now, b.worst_before), b.suspended}
end

function commands.give_back(used, next_us)
  local b = read()
  local row = b and b.rows[#b.rows]
  if not row or b.next_us ~= next_us or used >= row.count then return {} end
  b.next_us = row.first_us + ceil(used * row.interval / 1000)
  b.slots = b.slots - (row.count - used)
  if used > 0 then row.count = used else b.rows[#b.rows] = nil end
  keep(b)
  return {}
end

function commands.refuse(limit, slot, spread_ns, retry_after_us)
  local b = on_clock(read(), GUARD_NS_FIRST)
  local since_us, refused, admitted = slot - SECOND_US, {}, 0
  for _, row in ipairs(b.rows) do admitted = admitted + within(row, since_us, slot) end
  for _, at_us in ipairs(b.refused_us) do
    if at_us > since_us then
      refused[#refused + 1] = at_us
      if at_us < slot then admitted = admitted - 1 end
    end
  end
  admitted = max(0, admitted)
  refused[#refused + 1] = slot
  while #refused > REFUSALS_REMEMBERED do table.remove(refused, 1) end
  b.refusals, b.refused_us = b.refusals + 1, refused
  if retry_after_us >= 0 then b.closed_until_us = max(b.closed_until_us, now_us + retry_after_us) end
  local reaction, close_us = 0, 0
  local has_jittered = b.guard_ns * GUARD_UP_MIN < GUARD_NS_MAX and b.cut_us == 0 and admitted >= FULL_SHARE * limit / MICRO - 1
  local is_news = not has_jittered
  if b.cut_us > 0 then is_news = b.peak_micro <= 2 * admitted * MICRO and admitted * MICRO < b.peak_micro end
  if slot < b.reacted_us and not is_news then
    -- It left, or was promised, before the last reaction, and met what that was about.
    reaction = 0
  elseif has_jittered then
    raise_guard(b, spread_ns)
    reaction, close_us = 1, ceil(interval_ns(b, limit) / 1000)
  else
    cut(b, admitted, limit)
    reaction, close_us = 2, LOWERED_CLOSE_US
  end
  if reaction > 0 then
    b.closed_until_us = max(b.closed_until_us, now_us + min(close_us, LOWERED_CLOSE_US))
    b.reacted_us = max(b.reacted_us, b.next_us)
  end
  if reaction == 2 then without_promises(b) end
  keep(b)
  -- Everyone drops the slots that he was promised: the calls would be refused as well.
  if reaction == 2 or retry_after_us > 0 then redis.call('PUBLISH', ARGV[6], ARGV[7]) end
  return {reaction}
end

local command = ARGV[1]
if command == 'suspend' then
  local b = on_clock(read(), GUARD_NS_FIRST)
  b.suspended = ARGV[2]
  if b.suspended == '' then b.failures, b.resumed_us = 0, now_us end
  keep(b)
  -- Heard at once by everyone, when it stops and when it goes on.
  redis.call('PUBLISH', ARGV[3], ARGV[4])
  return {}
end
if command == 'fail' then
  local b, slot, trips = on_clock(read(), GUARD_NS_FIRST), tonumber(ARGV[2]), false
  if slot >= b.resumed_us then
    b.failures, b.failed_us = b.failures + 1, max(b.failed_us, slot)
    trips = b.failures >= FAILURES_MAX and b.suspended == ''
    if trips then b.suspended = API_AILING end
  end
  keep(b)
  if trips then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
  return {trips and 1 or 0}
end
local numbers = {}
for n = 2, #ARGV do numbers[n - 1] = tonumber(ARGV[n]) end
if not commands[command] then return redis.error_reply('ERR unknown limiter command ' .. tostring(command)) end
return commands[command](unpack(numbers, 1, 13))
