// The health check of the image: asks the program's own admin listener, and says by its exit code whether it is ready. Plain JavaScript,
// without a shell or curl. HOLDPOINT_ADMIN: its address, if it is not http://127.0.0.1:9090.
const admin = process.env.HOLDPOINT_ADMIN ?? 'http://127.0.0.1:9090'
try {
  const answer = await fetch(`${admin}/readyz`, { signal: AbortSignal.timeout(4_000) })
  process.exitCode = answer.ok ? 0 : 1
} catch {
  process.exitCode = 1
}
