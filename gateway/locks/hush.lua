-- Money was reported: before it is settled, forget the live answer, revoke the claim in flight, and let
-- nothing live be stored or answered for a while. KEYS: answer, claim, quiet. ARGV: that while in ms,
-- the order's version before the write: only what follows a later one lifts the hush.
if redis.call('HGET', KEYS[1], 'kind') ~= 'final' then
  redis.call('DEL', KEYS[1])
end
redis.call('DEL', KEYS[2])
local held = tonumber(redis.call('GET', KEYS[3]) or '0')
redis.call('SET', KEYS[3], math.max(held, tonumber(ARGV[2])), 'PX', ARGV[1])
