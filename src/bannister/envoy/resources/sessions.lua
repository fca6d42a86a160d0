-- Sessions: a caller's id of one is the model's own with a token that says where the session lives (sessions.py).
--
-- Put before this text by lua.py: SESSION, a table with the names of headers: group and address.

local ID, NEW, CLOSED = 'x-amzn-sagemaker-session-id', 'x-amzn-sagemaker-new-session-id', 'x-amzn-sagemaker-closed-session-id'
local NOTED = 'bannister.session'

local function hex(text)
  return (text:gsub('.', function(character) return string.format('%02x', character:byte()) end))
end

local function unhex(text)
  return (text:gsub('..', function(digits) return string.char(tonumber(digits, 16)) end))
end

-- Seconds since the epoch of a date and time in UTC; the days by shifting the year's start to March, so that the leap day is last.
local function epoch(year, month, day, hour, minute, second)
  if month <= 2 then year, month = year - 1, month + 12 end
  local days = 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
  return ((days * 24 + hour) * 60 + minute) * 60 + second
end

-- What the model says of the session that it has made: its id, the time as it was written, and that in seconds; nil where it cannot be read.
local function made(text)
  local id, expires = text:match('^([%w-]+);%s*Expires=(%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ)$')
  if id == nil then return nil end
  local parts = {}
  for digits in expires:gmatch('%d+') do parts[#parts + 1] = tonumber(digits) end
  return id, expires, epoch(unpack(parts))
end

-- Addresses of which it was said that their sessions cannot be read: once each, by each thread, for a caller may ask any number of times.
local told, told_count, TOLD_MAX, SHOWN_MAX = {}, 0, 1000, 200

local function tell(handle, address, text)
  if told[address] or told_count >= TOLD_MAX then return end
  told[address], told_count = true, told_count + 1
  handle:logWarn(string.format(
    'The model at %s began a session that its caller is not told of: %s is %q, and not an id of letters, digits and '
      .. 'hyphens with "; Expires=yyyy-mm-ddThh:mm:ssZ" after it', address, NEW, text:sub(1, SHOWN_MAX)))
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local id = headers:get(ID)
  headers:remove(SESSION.group)
  if id ~= nil and id ~= 'NEW_SESSION' then
    local own, group, expires, address = id:match('^(.+)%-(%x%x%x%x%x%x%x%x)(%x%x%x%x%x%x%x%x)(%x+)$')
    if own ~= nil and #address % 2 == 0 and tonumber(expires, 16) * 1000 > handle:timestamp() then
      -- An address that is none, or none of the group's, is refused like one that is gone.
      local set = pcall(function() handle:setUpstreamOverrideHost(unhex(address), true) end)
      if set then
        headers:replace(SESSION.group, group)
        headers:replace(ID, own)
        handle:streamInfo():dynamicMetadata():set(NOTED, 'id', id)
      end
    end
  end
  handle:clearRouteCache()
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local group, address = headers:get(SESSION.group), headers:get(SESSION.address)
  local new, closed = headers:get(NEW), headers:get(CLOSED)
  headers:remove(SESSION.group)
  headers:remove(SESSION.address)
  headers:remove(NEW)
  headers:remove(CLOSED)
  if headers:get(':status'):sub(1, 1) ~= '2' then return end
  local noted = handle:streamInfo():dynamicMetadata():get(NOTED)
  if noted ~= nil and noted['id'] ~= nil then
    if closed ~= nil then headers:replace(CLOSED, noted['id']) end
  elseif new ~= nil and group ~= nil and address ~= nil then
    local id, expires, seconds = made(new)
    if id ~= nil and seconds >= 0 and seconds < 4294967296 then
      local token = string.format('%s%08x%s', group, seconds, hex(address))
      headers:replace(NEW, id .. '-' .. token .. '; Expires=' .. expires)
    else
      tell(handle, address, new)
    end
  end
end
