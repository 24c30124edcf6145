-- The twin of worker/core/journal.py, atomically on the server and on the server's clock: the same names, the same
-- decisions. One string per job, so that a million of them fit.
--
-- KEYS[1]   what the journal knows of itself: "epoch_us seen_us"
-- KEYS[2]   the jobs in doubt: a sorted set of ids, by since when (us)
-- KEYS[3…]  the jobs' records
-- ARGV      'claim' ttl_s call_us_max seen_us, then for each job: token fingerprint redelivered published_us job_id
--           'conclude' ttl_s, then for each job: token record job_id
--           'tell' ttl_s, then for each job: token fingerprint end
--           'resolve' ttl_s call_us_max, then for each job: fingerprint end grounds job_id
--           'recall', then for each job: since_us ('' where it is not held) job_id
-- Returns   claim: {now_us, verdict, record, verdict, record, …}; conclude: {1 or 0, …}; tell: {};
--           resolve: {1 or 0, record, 1 or 0, record, …}; recall: {record or '', in doubt since (us) or '', …}

-- core/journal.py
local CLOCKS_APART_US_MAX, FORGOTTEN_US_MAX = 60000000, 3600000000
local CLAIMED, BUSY, ENDED, TOLD, DIFFERS = 1, 2, 3, 4, 5
local NEVER_TOLD = 'a worker had begun to call and did not tell what came of it'
local FORGOTTEN = 'the job was handed out before, and the journal has lost what it knew of that time'
local UNREADABLE = "the journal's record of the job cannot be read"

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
-- Tests drive the decisions with a clock of their own, as the last argument.
if ARGV[#ARGV - 1] == 'now_us' then now_us = tonumber(ARGV[#ARGV]) end

local function read(text)
  local state, print, rest = string.match(text, '^([COETR])|([^|]*)|?(.*)$')
  if state == 'C' then
    local at_us, token = string.match(rest, '^(%d+)|(.*)$')
    if not at_us then return nil end
    return {state = state, print = print, at_us = tonumber(at_us), token = token}
  elseif state == 'E' or state == 'T' or state == 'R' then
    local ending = string.match(rest, state == 'R' and '^([a-z_]+)|' or '^([a-z_]+)')
    if not ending then return nil end
    return {state = state, print = print, ending = ending}
  elseif state == 'O' then
    local at_us = string.match(rest, '^(%d+)$')
    if not at_us then return nil end
    return {state = state, print = print, at_us = tonumber(at_us)}
  end
  return nil
end

-- A key of another type is as good as a record that cannot be read: it must not hold up everybody else.
local function get(key)
  local text = redis.pcall('GET', key)
  return type(text) == 'table' and '' or text
end

local function keep(key, text, ttl_s, job_id)
  -- Since when a job is open is known here alone.
  if string.sub(text, 1, 2) == 'O|' then text = string.format('O|%s|%.0f', string.match(text, '^O|([^|]*)'), now_us) end
  redis.call('SET', key, text, 'EX', ttl_s)
  if string.match(text, '^E|[^|]*|in_doubt|') then
    redis.call('ZADD', KEYS[2], 'NX', string.format('%.0f', now_us), job_id)
  end
end

local function in_doubt(print, why) return 'E|' .. print .. '|in_doubt|{"why":"' .. why .. '"}' end

local commands = {}

function commands.claim()
  local ttl_s, call_us_max, seen_us = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
  local epoch_us, last_us = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
  epoch_us, last_us = tonumber(epoch_us), tonumber(last_us)
  -- No memory, or less of it than a worker was last told: it begins anew. Where nobody was told anything, at first.
  if not epoch_us and seen_us == 0 then epoch_us, last_us = 0, 0 end
  if not epoch_us or last_us < seen_us then epoch_us, last_us = now_us, 0 end
  redis.call('SET', KEYS[1], string.format('%.0f %.0f', epoch_us, math.max(now_us, last_us)))
  local answer = {math.max(now_us, last_us)}
  for n = 3, #KEYS do
    local at = 5 + (n - 3) * 5
    local token, print, redelivered = ARGV[at], ARGV[at + 1], ARGV[at + 2] == '1'
    local published_us, job_id = tonumber(ARGV[at + 3]), ARGV[at + 4]
    local text = get(KEYS[n])
    local claimed = string.format('C|%s|%.0f|%s', print, now_us, token)
    local record, verdict = nil, nil
    local is_suspect = redelivered and epoch_us > 0 and now_us - epoch_us <= FORGOTTEN_US_MAX
      and published_us <= epoch_us + CLOCKS_APART_US_MAX
    if text then
      record = read(text)
      if not record then text, verdict = in_doubt(print, UNREADABLE), ENDED; keep(KEYS[n], text, ttl_s, job_id) end
    elseif not is_suspect then
      text, verdict = claimed, CLAIMED
      keep(KEYS[n], text, ttl_s, job_id)
    else
      text, verdict = in_doubt(print, FORGOTTEN), ENDED
      keep(KEYS[n], text, ttl_s, job_id)
    end
    if verdict then
      -- decided
    elseif record.print ~= print then
      verdict = DIFFERS
    elseif record.state == 'O' and is_suspect and record.at_us <= epoch_us then
      text, verdict = in_doubt(print, FORGOTTEN), ENDED
      keep(KEYS[n], text, ttl_s, job_id)
    elseif record.state == 'O' or (record.state == 'C' and record.token == token) then
      text, verdict = claimed, CLAIMED
      keep(KEYS[n], text, ttl_s, job_id)
    elseif record.state == 'C' and now_us - record.at_us <= call_us_max then
      verdict = BUSY
    elseif record.state == 'C' then
      text, verdict = in_doubt(record.print, NEVER_TOLD), ENDED
      keep(KEYS[n], text, ttl_s, job_id)
    elseif record.state == 'E' then
      verdict = ENDED
    else
      verdict = TOLD
    end
    answer[#answer + 1] = verdict
    answer[#answer + 1] = text
  end
  return answer
end

function commands.conclude()
  local answer = {}
  for n = 3, #KEYS do
    local at = 3 + (n - 3) * 3
    local token, outcome, job_id = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local text = get(KEYS[n])
    local record = text and read(text)
    local is_ours = not text or text == outcome
      or (record and (record.state == 'O' or (record.state == 'C' and record.token == token)))
    if is_ours then keep(KEYS[n], outcome, ARGV[2], job_id) end
    answer[#answer + 1] = is_ours and 1 or 0
  end
  return answer
end

local function is_told_by(record, token, ending)
  if record.state == 'C' then return record.token == token end
  if record.state == 'R' then return token == '' and record.ending == ending end
  if record.state == 'T' then return false end
  if record.state == 'O' then return ending ~= 'in_doubt' and ending ~= 'released' end
  if ending == 'in_doubt' or ending == 'dead' then return record.ending == ending end
  return ending ~= 'released'
end

function commands.tell()
  for n = 3, #KEYS do
    local at = 3 + (n - 3) * 3
    local token, print, ending = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local text = get(KEYS[n])
    local record = text and read(text)
    if not text or (record and is_told_by(record, token, ending)) then
      if record and record.state == 'R' then
        redis.call('SET', KEYS[n], 'R|' .. record.print .. '|' .. record.ending .. '|', 'EX', ARGV[2])
      elseif ending == 'dead' then
        redis.call('DEL', KEYS[n])
      elseif ending == 'released' then
        -- Where there is no such claim, a release adds nothing.
        if text then redis.call('SET', KEYS[n], string.format('O|%s|%.0f', print, now_us), 'EX', ARGV[2]) end
      else
        redis.call('SET', KEYS[n], 'T|' .. print .. '|' .. ending, 'EX', ARGV[2])
      end
    end
  end
  return {}
end

local function is_in_doubt(record, print, call_us_max)
  if record.print ~= print then return false end
  if record.state == 'C' then return now_us - record.at_us > call_us_max end
  return record.ending == 'in_doubt'
end

function commands.resolve()
  local answer = {}
  for n = 3, #KEYS do
    local at = 4 + (n - 3) * 4
    local print, ending, grounds, job_id = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local text = get(KEYS[n])
    local record = text and read(text)
    local is_done = not record or is_in_doubt(record, print, tonumber(ARGV[3]))
    if is_done then
      text = ending == 'released' and string.format('O|%s|%.0f', print, now_us)
        or 'R|' .. print .. '|' .. ending .. '|' .. grounds
      redis.call('SET', KEYS[n], text, 'EX', ARGV[2])
    end
    -- Also where it had an end before: it is in doubt no more.
    if is_done or record.print == print then redis.call('ZREM', KEYS[2], job_id) end
    answer[#answer + 1] = is_done and 1 or 0
    answer[#answer + 1] = text
  end
  return answer
end

function commands.recall()
  local answer = {}
  for n = 3, #KEYS do
    local at = 2 + (n - 3) * 2
    local since_us, job_id = ARGV[at], ARGV[at + 1]
    local text = get(KEYS[n])
    -- Forgotten, and held all the same: it is in doubt, and counted again.
    if not text and since_us ~= '' then redis.call('ZADD', KEYS[2], 'NX', since_us, job_id) end
    answer[#answer + 1] = text or ''
    answer[#answer + 1] = redis.call('ZSCORE', KEYS[2], job_id) or ''
  end
  return answer
end

if not commands[ARGV[1]] then return redis.error_reply('ERR unknown journal command ' .. tostring(ARGV[1])) end
return commands[ARGV[1]]()
