// A small AWS: checks every signature with the real keys, by another signer than ours (aws4), and answers a few operations of each protocol.
// What it was asked is kept with the body that it understood: S3's framing is undone and its checksum checked.
import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import aws4 from 'aws4'
import { startServer } from '../../src/commands/demo/server.ts'

export const realKeys = {
  accessKeyId: 'AKIDREAL',
  secretAccessKey: 'real-secret/with+signs',
  sessionToken: 'real-session',
}

export type Asked = {
  readonly service: string
  readonly region: string
  readonly method: string
  readonly target: string
  readonly headers: { readonly [name: string]: string | string[] | undefined }
  readonly body: Buffer
  /** Why the request would be refused by AWS. */
  readonly wrong?: string
}

export type Peer = {
  readonly url: string
  readonly asked: readonly Asked[]
  /** By `bucket/key`. */
  readonly objects: ReadonlyMap<string, Buffer>
  close(): Promise<void>
}

const xml = (body: string, status = 200): { status: number; type: string; body: string } => ({
  status,
  type: 'text/xml',
  body: `<?xml version="1.0"?>${body}`,
})

const line =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/\d{8}\/([^/]+)\/([^/]+)\/aws4_request, SignedHeaders=([^,]+), Signature=[0-9a-f]{64}$/

export const startAws = async (): Promise<Peer> => {
  const asked: Asked[] = []
  const objects = new Map<string, Buffer>()
  const parts = new Map<number, Buffer>()
  const server = await startServer(0, async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const { method = '', url = '', headers } = request
    const sent = Buffer.concat(chunks)
    const [, , region = '', service = ''] = line.exec(headers.authorization ?? '') ?? []
    const read = contentOf(headers, sent)
    const wrong = signedWrong(method, url, headers, sent) ?? (typeof read === 'string' ? read : undefined)
    const body = typeof read === 'string' ? sent : read
    asked.push({ service, region, method, target: url, headers, body, ...(wrong === undefined ? {} : { wrong }) })
    const answer =
      wrong !== undefined
        ? xml(`<Error><Code>SignatureDoesNotMatch</Code><Message>${wrong}</Message></Error>`, 403)
        : service === 's3'
          ? s3(method, new URL(url, 'http://s3'), body, objects, parts)
          : answerOf(service, method, url, headers, body.toString())
    response.writeHead(answer.status, { 'content-type': answer.type, etag: '"e"', 'x-amzn-requestid': 'peer' })
    response.end(method === 'HEAD' ? undefined : answer.body)
  })
  return { url: server.url, asked, objects, close: server.close }
}

type Head = { readonly [name: string]: string | string[] | undefined }

const textOf = (headers: Head, name: string): string => [headers[name] ?? ''].flat().join(',')

const signedWrong = (method: string, path: string, headers: Head, body: Buffer): string | undefined => {
  const shown = textOf(headers, 'authorization')
  const [, key, region, service, names = ''] = line.exec(shown) ?? []
  if (key !== realKeys.accessKeyId) return `signed by ${key ?? 'nobody'}`
  if (textOf(headers, 'x-amz-security-token') !== realKeys.sessionToken) return 'another session token'
  const list = names.split(';')
  const due = Object.keys(headers).filter(name => name === 'host' || name.startsWith('x-amz-'))
  if (due.some(name => !list.includes(name)))
    return `not signed: ${due.filter(name => !list.includes(name)).join(', ')}`
  const expected = aws4.sign(
    {
      service: service ?? '',
      region: region ?? '',
      method,
      path,
      body,
      host: textOf(headers, 'host'),
      headers: Object.fromEntries(list.map(name => [name, textOf(headers, name)])),
      // It would add them; they need not be signed.
      extraHeadersToIgnore: {
        'content-length': true,
        ...(list.includes('content-type') ? {} : { 'content-type': true }),
      },
    },
    realKeys,
  ).headers?.Authorization
  if (String(expected) !== shown) return `the signature is wrong: ${expected} is not ${shown}`
  const said = textOf(headers, 'x-amz-content-sha256')
  const hash = createHash('sha256').update(body).digest('hex')
  return /^[0-9a-f]{64}$/.test(said) && said !== hash ? 'the hash is of another body' : undefined
}

/** The body without S3's framing, or why it has none. */
const contentOf = (headers: Head, body: Buffer): Buffer | string => {
  const said = textOf(headers, 'x-amz-content-sha256')
  if (said !== 'STREAMING-UNSIGNED-PAYLOAD-TRAILER')
    return textOf(headers, 'content-encoding').includes('aws-chunked') ? 'framed, but not said so' : body
  const parts: Buffer[] = []
  for (let at = 0; ; ) {
    const end = body.indexOf('\r\n', at)
    const size = Number.parseInt(body.toString('latin1', at, end), 16)
    if (size === 0) {
      const whole = Buffer.concat(parts)
      const sum = Buffer.alloc(4)
      sum.writeUInt32BE(crc32(whole))
      return body.toString('latin1', end + 2).trim() === `x-amz-checksum-crc32:${sum.toString('base64')}`
        ? whole
        : 'another checksum'
    }
    parts.push(body.subarray(end + 2, end + 2 + size))
    at = end + 4 + size
  }
}

const s3 = (
  method: string,
  { pathname, searchParams }: URL,
  body: Buffer,
  objects: Map<string, Buffer>,
  parts: Map<number, Buffer>,
) => {
  const key = decodeURIComponent(pathname.slice(1))
  if (method === 'PUT' && searchParams.has('partNumber')) parts.set(Number(searchParams.get('partNumber')), body)
  else if (method === 'PUT') objects.set(key, body)
  if (method === 'POST' && searchParams.has('uploads'))
    return xml(`<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>`)
  if (method === 'POST' && searchParams.has('uploadId')) {
    objects.set(key, Buffer.concat([...parts].sort(([one], [other]) => one - other).map(([, part]) => part)))
    return xml(`<CompleteMultipartUploadResult><ETag>"e"</ETag></CompleteMultipartUploadResult>`)
  }
  if (method === 'DELETE') return { status: 204, type: 'text/xml', body: '' }
  if (method === 'GET' && pathname === '/')
    return xml('<ListAllMyBucketsResult><Buckets><Bucket><Name>b1</Name></Bucket></Buckets></ListAllMyBucketsResult>')
  return {
    status: 200,
    type: 'application/octet-stream',
    body: method === 'GET' ? (objects.get(key)?.toString() ?? '') : '',
  }
}

const user =
  '<User><UserName>ana</UserName><UserId>1</UserId><Path>/</Path><Arn>a</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate></User>'

const answerOf = (service: string, method: string, url: string, headers: Head, body: string) => {
  const operation =
    textOf(headers, 'x-amz-target').split('.').at(-1) || new URLSearchParams(body).get('Action') || `${method} ${url}`
  if (service === 'ec2')
    return xml(
      `<${operation}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId></${operation}Response>`,
    )
  if (service === 'iam' || service === 'sts') {
    const list =
      operation === 'ListUsers'
        ? `<Users><member>${user.replace(/<\/?User>/g, '')}</member></Users><IsTruncated>false</IsTruncated>`
        : ''
    const who = operation === 'GetCallerIdentity' ? '<Arn>arn:aws:iam::123456789012:user/real</Arn>' : ''
    return xml(
      `<${operation}Response><${operation}Result>${list}${who}</${operation}Result><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></${operation}Response>`,
    )
  }
  const json = (value: object) => ({ status: 200, type: 'application/json', body: JSON.stringify(value) })
  if (service === 'dynamodb') return json(operation === 'ListTables' ? { TableNames: ['orders'] } : {})
  if (service === 'lambda')
    return method === 'DELETE'
      ? { status: 204, type: 'application/json', body: '' }
      : json({ Functions: [{ FunctionName: 'f' }] })
  return json({})
}
