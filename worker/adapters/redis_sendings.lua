-- The twin of worker/core/recipients.py, atomically on the server and on the server's clock: the same names, the same
-- decisions. What can be said of a message after a look is said in Python alone, of the text that comes back.
--
-- KEYS[1…]  what is remembered of recipients, one for each item; the same one may be there several times
-- ARGV      command, keep_s, the items as a JSON array of arrays:
--           'note':    message_id, job_id, reference (or null), ends_doubt
--           'look':    message_id, status, token, has_waited
--           'assign':  message_id, job_id, reference (or null)
--           'told':    message_id, status
--           'put_off': message_id, status, token
-- Returns   note and assign: {1 where it is a second message of the job, else 0, …}; told and put_off: {0, …};
--           look: {now_ms, verdict, text of the recipient, verdict, text, …}
--
-- A recipient as JSON, everything empty left out (there is no empty list in Lua's JSON):
--   m  messages: i id, h heard_ms, j job_id, r reference, a sent_ms, t told, u told_ms, c telling {status, token, at_ms},
--      w 1 where has_waited
--   d  doubts: j job_id, r reference, s since_ms

-- core/recipients.py
local MESSAGES_MAX, DOUBTS_MAX, STATUSES_MAX, TELLING_MS_MAX = 64, 64, 16, 15000
local OURS, BUSY, TOLD = 1, 2, 3

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- Tests drive the decisions with a clock of their own, as the last argument.
if ARGV[#ARGV - 1] == 'now_ms' then now_ms = tonumber(ARGV[#ARGV]) end
local command, keep_s, items = ARGV[1], tonumber(ARGV[2]), cjson.decode(ARGV[3])

local function insert(list, entry, count_max)
  list[#list + 1] = entry
  if #list > count_max then table.remove(list, 1) end
end

-- Raises on what is not a recipient.
local function kept(text)
  local record, known = cjson.decode(text), {m = {}, d = {}}
  for _, one in ipairs(record.m or {}) do
    if now_ms - math.max(one.h, one.a or 0, one.u or 0) <= keep_s * 1000 then known.m[#known.m + 1] = one end
  end
  for _, one in ipairs(record.d or {}) do
    if now_ms - one.s <= keep_s * 1000 then known.d[#known.d + 1] = one end
  end
  return known
end

-- What cannot be read, or is a key of another type, is nobody: it must not hold up everybody else.
local function recipient(key)
  local text = redis.pcall('GET', key)
  if not text then return {m = {}, d = {}} end
  local is_read, known = pcall(kept, text)
  return is_read and known or {m = {}, d = {}}
end

local function written(known)
  return cjson.encode({m = next(known.m) and known.m, d = next(known.d) and known.d})
end

local function find(known, message_id)
  for _, one in ipairs(known.m) do if one.i == message_id then return one end end
end

local function message(known, message_id)
  local one = find(known, message_id)
  if not one then
    one = {i = message_id, h = now_ms}
    insert(known.m, one, MESSAGES_MAX)
  end
  return one
end

local function has_other(known, message_id, job_id)
  for _, one in ipairs(known.m) do if one.i ~= message_id and one.j == job_id then return 1 end end
  return 0
end

local function doubt(known, job_id)
  for n, one in ipairs(known.d) do if one.j == job_id then return one, n end end
end

local function end_doubt(known, job_id)
  local one, n = doubt(known, job_id)
  if one then table.remove(known.d, n) end
  return one
end

-- Of whatever token, unless one is named; true when somebody was about to tell it.
local function end_telling(one, status, token)
  for n, telling in ipairs(one.c or {}) do
    if telling[1] == status and (not token or telling[2] == token) then
      table.remove(one.c, n)
      if #one.c == 0 then one.c = nil end
      return true
    end
  end
  return false
end

-- Each returns its answer, and whether there is something to write.
local commands = {}

function commands.note(known, item)
  local message_id, job_id, reference, ends_doubt = unpack(item)
  if reference == cjson.null then reference = nil end
  if ends_doubt then end_doubt(known, job_id) end
  if message_id ~= '' then
    local one = message(known, message_id)
    if one.j ~= job_id then one.j, one.r, one.a = job_id, reference, now_ms end
    return has_other(known, message_id, job_id), true
  end
  -- A doubt that was noted, or a message of the job that is known: it is told again.
  if not ends_doubt and not doubt(known, job_id) and has_other(known, nil, job_id) == 0 then
    insert(known.d, {j = job_id, r = reference, s = now_ms}, DOUBTS_MAX)
  end
  return 0, true
end

function commands.look(known, item)
  local message_id, status, token, has_waited = unpack(item)
  local one = message(known, message_id)
  for _, told in ipairs(one.t or {}) do if told == status then return TOLD, false end end
  for _, telling in ipairs(one.c or {}) do
    if telling[2] ~= token and math.abs(now_ms - telling[3]) < TELLING_MS_MAX then return BUSY, false end
  end
  end_telling(one, status)
  one.c = one.c or {}
  insert(one.c, {status, token, now_ms}, STATUSES_MAX)
  if has_waited then one.w = 1 end
  return OURS, true
end

function commands.assign(known, item)
  local message_id, job_id, reference = unpack(item)
  if reference == cjson.null then reference = nil end
  local one = find(known, message_id)
  if one and one.j and one.j ~= job_id then return 0, false end
  local ended = end_doubt(known, job_id)
  one = message(known, message_id)
  if not one.j then one.j, one.r, one.a = job_id, reference, ended and ended.s or one.h end
  return has_other(known, message_id, job_id), true
end

function commands.told(known, item)
  local message_id, status = unpack(item)
  local one = message(known, message_id)
  end_telling(one, status)
  one.u = now_ms
  for _, told in ipairs(one.t or {}) do if told == status then return 0, true end end
  one.t = one.t or {}
  insert(one.t, status, STATUSES_MAX)
  return 0, true
end

function commands.put_off(known, item)
  local message_id, status, token = unpack(item)
  local one = find(known, message_id)
  return 0, one ~= nil and end_telling(one, status, token)
end

local decide = commands[command]
if not decide then return redis.error_reply('ERR unknown sendings command ' .. tostring(command)) end
local answer = command == 'look' and {now_ms} or {}
for n, key in ipairs(KEYS) do
  local known = recipient(key)
  local said, is_changed = decide(known, items[n])
  local text = (is_changed or command == 'look') and written(known)
  if is_changed then redis.call('SET', key, text, 'EX', keep_s) end
  answer[#answer + 1] = said
  if command == 'look' then answer[#answer + 1] = text end
end
return answer
