-- Ask to be the one of equal submissions that is let in. KEYS: submission (token).
-- ARGV: token, the window in ms. Returns 0, or for how many ms another one's window is open.
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 0
end
return math.max(redis.call('PTTL', KEYS[1]), 1)
