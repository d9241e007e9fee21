// Verifies tokens with npm jose and its remote key set, as it comes: one JSON line in ({id, token}), one out ({id, code}).
// Usage: node verifier.mjs JWKS_URI ISSUER AUDIENCE
import { createInterface } from 'node:readline'
import { createRemoteJWKSet, jwtVerify } from 'jose'

const [uri, issuer, audience] = process.argv.slice(2)
const keys = createRemoteJWKSet(new URL(uri))

for await (const line of createInterface({ input: process.stdin })) {
  const { id, token } = JSON.parse(line)
  let code = ''
  try {
    await jwtVerify(token, keys, { issuer, audience })
  } catch (error) {
    code = error.code ?? error.name
  }
  process.stdout.write(JSON.stringify({ id, code }) + '\n')
}
