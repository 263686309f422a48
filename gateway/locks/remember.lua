-- End a claim with its answer: cached while our token stands and nothing final is there. While a hush
-- stands no token does: it revoked the claim that there was, and lets no other be taken.
-- KEYS: answer, claim, quiet. ARGV: token, same, body, time to live of the answer in ms.
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[2])
  if redis.call('HGET', KEYS[1], 'kind') ~= 'final' then
    redis.call('HSET', KEYS[1], 'kind', 'live', 'same', ARGV[2], 'body', ARGV[3])
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
  end
end
