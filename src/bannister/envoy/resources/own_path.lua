-- On the way to a model that has a path of its own for invocations: puts it in place of `/invocations`. What is behind a question mark stays.
--
-- MODEL.path    where the model takes invocations

function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace(":path", MODEL.path .. (headers:get(":path"):match("%?.*$") or ""))
end
