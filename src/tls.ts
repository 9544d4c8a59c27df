// What every listener says of TLS, and when certificates and keys are good: versions that are safe, HTTP/1.1 only (a second protocol would
// be a second parser), and a client's certificate that is good or not there.
import type { Server } from 'node:https'
import { createSecureContext, type TLSSocket } from 'node:tls'
import type { ListenTls } from './settings.ts'

const minVersion = 'TLSv1.2' as const

/** Options of a server, and of its next secure context. */
export const serverTls = ({ cert, key, clientCa, clientCert }: ListenTls) => ({
  cert,
  key,
  minVersion,
  ALPNProtocols: ['http/1.1'],
  ...(clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: clientCert === 'required' }),
})

/** Whoever shows a certificate shows a good one, also where none is wanted. */
export const refuseBadCertificates = (server: Server): void => {
  server.on('secureConnection', (socket: TLSSocket) => {
    if (!socket.authorized && Object.keys(socket.getPeerCertificate()).length > 0) socket.destroy()
  })
}

/** Why these texts are no good, or undefined. Never shows them. */
export const tlsTrouble = (texts: {
  readonly cert?: string | undefined
  readonly key?: string | undefined
  readonly ca?: string | undefined
}): string | undefined => {
  const { cert, key, ca } = texts
  if ((cert === undefined) !== (key === undefined)) return 'cert and key go together'
  if (ca !== undefined && !ca.includes('-----BEGIN CERTIFICATE-----'))
    return 'there is no certificate (PEM) in the CA file'
  try {
    createSecureContext({ minVersion, cert, key, ca })
    return undefined
  } catch (error) {
    const { code, message } = error as Error & { code?: string }
    return code === 'ERR_OSSL_X509_KEY_VALUES_MISMATCH'
      ? 'the key is not the one of the certificate'
      : `certificate or key cannot be read (${code ?? message})`
  }
}
