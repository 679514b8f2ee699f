-- wrk's request: one non-streaming chat. KEY is the bearer token, IMAGE_BYTES the size of an image.
local image = string.rep("A", tonumber(os.getenv("IMAGE_BYTES") or "0"))
local text = "Why is the sky blue?"

local function native()
  local images = #image > 0 and ',"images":["' .. image .. '"]' or ""
  return '{"role":"user","content":"' .. text .. '"' .. images .. "}"
end

local function openai()
  if #image == 0 then return native() end
  return '{"role":"user","content":[{"type":"text","text":"' .. text .. '"},'
    .. '{"type":"image_url","image_url":{"url":"data:image/png;base64,' .. image .. '"}}]}'
end

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. (os.getenv("KEY") or "none")

-- wrk asks for the path's request once, after this, and sends the same bytes ever after.
function init()
  local message = wrk.path:sub(1, 4) == "/v1/" and openai() or native()
  wrk.body = '{"model":"m","stream":false,"messages":[' .. message .. "]}"
end
