// Runs once before all tests: the programs they start are there, or nothing runs.
import { provide, realUpstreams } from './debian.ts'

export const setup = (): void =>
  provide([
    { name: 'redis-server', package: 'redis-server', why: 'the store of replicas, Redis 7 or newer' },
    { name: 'valkey-server', package: 'valkey-server', why: 'the store of replicas, Valkey 8 or newer (WAITAOF)' },
    { name: 'chromium', package: 'chromium', why: 'the console as a person uses it' },
    ...realUpstreams,
    { name: 'clickhouse-server', package: 'clickhouse-server', why: 'a database behind the gate' },
    { name: 'influxd', package: 'influxdb', why: 'a database behind the gate' },
    { name: 'curl', package: 'curl', why: 'a caller of another make' },
  ])
