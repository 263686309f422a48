-- Something was settled: cache what is final, lift the hush, wake the pages. KEYS: answer, claim, quiet.
-- ARGV: final body ('' while the order is open), its time to live in ms, the pages' channel, what to say
-- there, the order's version now.
if ARGV[1] ~= '' then
  redis.call('HSET', KEYS[1], 'kind', 'final', 'body', ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
elseif redis.call('HGET', KEYS[1], 'kind') == 'live' then
  redis.call('DEL', KEYS[1])
end
if tonumber(redis.call('GET', KEYS[3]) or '0') < tonumber(ARGV[5]) then
  redis.call('DEL', KEYS[3])
end
return redis.call('PUBLISH', ARGV[3], ARGV[4])
