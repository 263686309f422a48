-- Ask to be the one who prepares a payment of this order; or learn the answer that is there already.
-- KEYS: answer (hash: kind, same, body), claim (token), quiet.
-- ARGV: token, time to live of the claim in ms, what makes two requests the same.
local kind, same, body = unpack(redis.call('HMGET', KEYS[1], 'kind', 'same', 'body'))
if kind == 'final' then
  return {'final', body}
end
-- Money is being settled: for a moment nothing live may be answered, and nothing new begun.
if redis.call('EXISTS', KEYS[3]) == 1 then
  return {'busy'}
end
if same == ARGV[3] then
  return {'live', body}
end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  redis.call('DEL', KEYS[1]) -- what was offered before may be closed from here on
  return {'claimed'}
end
return {'busy'}
