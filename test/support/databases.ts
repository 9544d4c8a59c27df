// Databases behind a gate: Debian's ClickHouse and InfluxDB in folders of their own, and small peers that speak like the others.
import { freePorts } from '../../src/commands/demo/ports.ts'
import { startDaemon } from './daemon.ts'
import { type Answer, type Seen, startUpstream, type Upstream } from './upstream.ts'

export type Database = { readonly url: string; close(): Promise<void> }

/** ClickHouse, whose only user has a password. */
export const startClickHouse = async (password: string): Promise<Database> => {
  const daemon = await startDaemon({
    program: 'clickhouse-server',
    args: (_, config) => [`--config-file=${config}`],
    signal: 'SIGTERM',
    config: (dir, port) => `<yandex>
  <logger><level>error</level><log>${dir}/log</log><errorlog>${dir}/errors</errorlog></logger>
  <http_port>${port}</http_port><listen_host>127.0.0.1</listen_host>
  <path>${dir}/data/</path><tmp_path>${dir}/tmp/</tmp_path><mark_cache_size>5000000</mark_cache_size>
  <users_config>clickhouse-server.conf</users_config>
  <default_profile>default</default_profile><default_database>default</default_database>
  <profiles><default/></profiles><quotas><default/></quotas>
  <users><default>
    <password>${password}</password><networks><ip>127.0.0.1</ip></networks>
    <profile>default</profile><quota>default</quota>
  </default></users>
</yandex>
`,
  })
  return { url: daemon.url, close: () => daemon.end().then(daemon.remove) }
}

/** InfluxDB 1. */
export const startInfluxDb = async (): Promise<Database> => {
  const [backup] = await freePorts(1)
  const daemon = await startDaemon({
    program: 'influxd',
    args: (_, config) => ['-config', config],
    signal: 'SIGTERM',
    config: (dir, port) => `reporting-disabled = true
bind-address = "127.0.0.1:${backup}"
[meta]
  dir = "${dir}/meta"
[data]
  dir = "${dir}/data"
  wal-dir = "${dir}/wal"
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:${port}"
  log-enabled = false
`,
  })
  return { url: daemon.url, close: () => daemon.end().then(daemon.remove) }
}

/** Elasticsearch as far as its client looks: the product's header, and a type that has its version in it. */
export const startElasticsearch = (): Promise<Upstream> =>
  startUpstream(({ method, target, headers }): Answer => {
    const type = String(headers.accept ?? 'application/json').split(',')[0] ?? ''
    const product = { 'x-elastic-product': 'Elasticsearch', 'content-type': type }
    const said =
      method === 'DELETE'
        ? { acknowledged: true }
        : target.includes('_bulk')
          ? { errors: false, items: [] }
          : { hits: { total: { value: 1 }, hits: [{ _id: '1', _source: { text: 'hello' } }] } }
    return { headers: product, body: JSON.stringify(said) }
  })

/** PostgREST and Neon as far as the stories ask. */
export const startRows = (): Promise<Upstream> =>
  startUpstream(({ method }: Seen): Answer => {
    if (method === 'DELETE') return { status: 204, body: '' }
    return { headers: { 'content-type': 'application/json' }, body: '[{"id":1}]' }
  })
