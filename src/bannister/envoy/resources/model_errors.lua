-- What a model answered, as the caller reads it: 2xx untouched, anything else as AWS's ModelError with the model's
-- own status and body inside.
--
-- Put before this text by lua.py: TEXTS, a table with `client` and `server`, each with status, error_type,
-- content_type, opening, middle, closing and original_bytes_max (see bannister.domain.runtime_texts).
--
-- Strings are bytes here, and a model's body can hold anything, so the escaping also makes it valid UTF-8.

local SHORT = { ['"'] = '\\"', ['\\'] = '\\\\', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t' }
local REPLACEMENT = '\239\191\189' -- U+FFFD

local function escaped_ascii(character)
  return SHORT[character] or string.format('\\u%04x', character:byte())
end

-- The length of the well-formed UTF-8 sequence at `i` (Unicode's table 3-7), or nil.
local function sequence_length(text, i)
  local a, b, c, d = text:byte(i, i + 3)
  local function tail(x) return x and x >= 0x80 and x <= 0xBF end
  if a >= 0xC2 and a <= 0xDF then
    return tail(b) and 2 or nil
  elseif a >= 0xE0 and a <= 0xEF then
    local low, high = a == 0xE0 and 0xA0 or 0x80, a == 0xED and 0x9F or 0xBF
    return b and b >= low and b <= high and tail(c) and 3 or nil
  elseif a >= 0xF0 and a <= 0xF4 then
    local low, high = a == 0xF0 and 0x90 or 0x80, a == 0xF4 and 0x8F or 0xBF
    return b and b >= low and b <= high and tail(c) and tail(d) and 4 or nil
  end
  return nil
end

local function well_formed(text)
  if not text:find('[\128-\255]') then return text end
  local out, i, kept = {}, 1, 1
  while true do
    i = text:find('[\128-\255]', i)
    if not i then break end
    local length = sequence_length(text, i)
    if length then
      i = i + length
    else
      out[#out + 1] = text:sub(kept, i - 1)
      out[#out + 1] = REPLACEMENT
      i = i + 1
      kept = i
    end
  end
  out[#out + 1] = text:sub(kept)
  return table.concat(out)
end

-- As the inside of a JSON string. Lua's %c is the control characters; a zero byte needs %z.
local function escaped(text)
  return (well_formed(text):gsub('[%c%z"\\]', escaped_ascii))
end

local function filled(piece, endpoint, status)
  return (piece:gsub('{endpoint}', endpoint):gsub('{status}', status))
end

local function original_body(handle, bytes_max)
  local body = handle:body(true)
  local length = math.min(body:length(), bytes_max)
  return body, length > 0 and body:getBytes(0, length) or ''
end

function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get('x-envoy-upstream-service-time') == nil then return end -- the proxy's own answer
  headers:remove('x-envoy-upstream-service-time')
  local status = headers:get(':status')
  if status:sub(1, 1) == '2' then return end
  local endpoint = handle:metadata():get('endpoint')
  if endpoint == nil then return end -- the control plane's answer

  local kind = status:sub(1, 1) == '4' and 'client' or 'server'
  local texts = TEXTS[kind]
  local noted = handle:streamInfo():dynamicMetadata()
  noted:set('bannister', 'original_status', tonumber(status))
  noted:set('bannister', 'original_kind', kind)

  local body, original = original_body(handle, texts.original_bytes_max)
  local text = escaped(original)
  local length = body:setBytes(
    filled(texts.opening, endpoint, status) .. text
      .. filled(texts.middle, endpoint, status) .. text
      .. filled(texts.closing, endpoint, status))

  headers = handle:headers() -- what was taken before body() waited is no longer valid
  headers:replace(':status', tostring(texts.status))
  headers:replace('content-type', texts.content_type)
  headers:replace('x-amzn-errortype', texts.error_type)
  headers:replace('content-length', tostring(length))
  headers:remove('content-encoding')
  headers:remove('location')
end
