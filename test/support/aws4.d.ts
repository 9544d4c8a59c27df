// What the tests use of aws4, which brings no types.
declare module 'aws4' {
  type Request = {
    readonly service: string
    readonly region: string
    readonly method: string
    readonly path: string
    readonly host: string
    readonly headers: { readonly [name: string]: string }
    readonly body?: string | Uint8Array
    readonly extraHeadersToIgnore?: { readonly [name: string]: true }
  }
  type Keys = { readonly accessKeyId: string; readonly secretAccessKey: string; readonly sessionToken?: string }
  const aws4: {
    sign(request: Request, keys: Keys): { readonly headers: { readonly [name: string]: string | undefined } }
  }
  export = aws4
}
