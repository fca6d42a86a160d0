-- What a model answers, as AWS's event stream: each piece becomes a frame as it passes, nothing waits for the next.
--
--     total length, header length, CRC-32 of these two | headers | payload | CRC-32 of all before
--
-- Numbers are of 32 bits, big-endian. A header is the length of its name, the name, 7 (a string), the length of its
-- value in 16 bits, the value. The caller joins the payloads of the frames; where one ends says nothing.
--
-- Put before this text by streaming.py: STREAM, a table with frame_bytes_max (of a payload), limit_milliseconds, and
-- timed_out (exception_type and body of what is said to a caller whose model is still sending after that).

local bit = require('bit')
local ffi = require('ffi')
local band, bxor, bnot, rshift = bit.band, bit.bxor, bit.bnot, bit.rshift

-- Signed, as the results of `bit` are: then all arithmetic stays in integers of the machine.
local TABLE = ffi.new('int32_t[256]')
for i = 0, 255 do
  local c = i
  for _ = 1, 8 do
    c = band(c, 1) ~= 0 and bxor(rshift(c, 1), 0xEDB88320) or rshift(c, 1)
  end
  TABLE[i] = c
end

local function crc(sum, text)
  local bytes = ffi.cast('const uint8_t *', text)
  for i = 0, #text - 1 do
    sum = bxor(rshift(sum, 8), TABLE[band(bxor(sum, bytes[i]), 255)])
  end
  return sum
end

local function big_endian_32(n)
  return string.char(rshift(n, 24), band(rshift(n, 16), 255), band(rshift(n, 8), 255), band(n, 255))
end

local function header(name, value)
  return string.char(#name) .. name .. '\7' .. string.char(rshift(#value, 8), band(#value, 255)) .. value
end

local function headers_of(message_type, kind, name, content_type)
  return header(':message-type', message_type) .. header(kind, name) .. header(':content-type', content_type)
end

local PART = headers_of('event', ':event-type', 'PayloadPart', 'application/octet-stream')
local TIMED_OUT = headers_of('exception', ':exception-type', STREAM.timed_out.exception_type, 'application/json')

local function frame(headers, payload)
  local lengths = big_endian_32(16 + #headers + #payload) .. big_endian_32(#headers)
  local sum = crc(-1, lengths)
  local prelude = big_endian_32(bnot(sum))
  sum = crc(crc(crc(sum, prelude), headers), payload)
  return lengths .. prelude .. headers .. payload .. big_endian_32(bnot(sum))
end

local function frames(bytes, length)
  if length <= STREAM.frame_bytes_max then return frame(PART, bytes:getBytes(0, length)) end
  local found = {}
  for start = 0, length - 1, STREAM.frame_bytes_max do
    found[#found + 1] = frame(PART, bytes:getBytes(start, math.min(STREAM.frame_bytes_max, length - start)))
  end
  return table.concat(found)
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local elapsed = tonumber(headers:get('x-bannister-stream-elapsed') or '') or 0
  headers:remove('x-bannister-stream-elapsed')
  if headers:get(':status'):sub(1, 1) ~= '2' then return end -- an error before the stream is an answer like any other

  local content_type, announced = headers:get('content-type'), tonumber(headers:get('content-length') or '')
  if content_type ~= nil then headers:replace('x-amzn-sagemaker-content-type', content_type) end
  headers:replace('content-type', 'application/vnd.amazon.eventstream')
  headers:remove('content-encoding') -- of the pieces: a client would look for it in the frames
  headers:remove('content-length')

  if announced ~= nil and announced <= STREAM.frame_bytes_max then -- not a stream: one frame, when all of it is there
    local body = handle:body(true)
    local length = body:length()
    if length > 0 then body:setBytes(frames(body, length)) end
    return
  end

  local deadline = handle:timestamp() + STREAM.limit_milliseconds - elapsed
  local over = false
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    if length == 0 then -- the end
    elseif over then
      chunk:setBytes('')
    elseif handle:timestamp() >= deadline then
      over = true
      handle:streamInfo():dynamicMetadata():set('bannister', 'stream_broken', 'timed_out')
      chunk:setBytes(frame(TIMED_OUT, STREAM.timed_out.body))
    else
      chunk:setBytes(frames(chunk, length))
    end
  end
end
