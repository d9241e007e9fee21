// Goes through every flow that npm oauth4webapi knows against a provider, as its users would; one JSON line for each.
// Usage: node client.mjs < configuration (JSON: issuer, clients, redirect, audience, gateway, exchange, person,
// resource)
import * as oauth from 'oauth4webapi'

const config = JSON.parse(await new Promise((resolve) => {
  let text = ''
  process.stdin.on('data', (chunk) => { text += chunk }).on('end', () => resolve(text))
}))
const insecure = { [oauth.allowInsecureRequests]: true }
const redirect = config.redirect
const issuer = new URL(config.issuer)
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure))
const assert = (holds, what) => { if (!holds) throw new Error(what) }

// A browser: keeps cookies, presses the first button.
class Browser {
  cookies = new Map()
  async open(url, init = {}) {
    const headers = { ...init.headers, cookie: [...this.cookies].map((pair) => pair.join('=')).join('; ') }
    const answer = await fetch(url, { ...init, headers, redirect: 'manual' })
    for (const line of answer.headers.getSetCookie()) {
      const [name, value] = line.split(';')[0].split('=')
      if (/max-age=0/i.test(line)) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    return answer
  }
  async press(page, answer, typed = {}) {
    const text = await page.text()
    const form = /<form method="post" action="([^"]*)">(.*?)<\/form>/s.exec(text)
    assert(form, `no form: ${page.status} ${text.slice(0, 300)}`)
    const decode = (value) => value.replaceAll('&amp;', '&').replaceAll('&#39;', "'").replaceAll('&#34;', '"').replaceAll('&lt;', '<').replaceAll('&gt;', '>')
    const fields = new URLSearchParams()
    for (const [, name, value] of form[2].matchAll(/<input type="(?:hidden|text)"[^>]*name="([^"]*)" value="([^"]*)"/g)) fields.set(name, decode(value))
    for (const [name, value] of Object.entries(typed)) fields.set(name, value)
    if (answer) fields.set('answer', answer)
    return this.open(new URL(decode(form[1]), page.url || config.issuer), { method: 'POST', body: fields })
  }
  async login(url) {
    let answer = await this.open(url)
    if (answer.status === 200) answer = await this.press(answer, 'yes')
    assert(answer.status === 303, `no redirect: ${answer.status} ${(await answer.text()).slice(0, 300)}`)
    return new URL(answer.headers.get('location'))
  }
}

const importKey = async (jwk) => ({ key: await crypto.subtle.importKey('jwk', jwk, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']), kid: jwk.kid })
const auth = {
  basic: () => oauth.ClientSecretBasic(config.clients.web.secret),
  post: () => oauth.ClientSecretPost(config.clients.web.secret),
  none: () => oauth.None(),
  jwt: async () => oauth.PrivateKeyJwt(await importKey(config.clients.signing.jwk)),
}

async function begin(client, extra = {}) {
  const verifier = oauth.generateRandomCodeVerifier()
  const state = oauth.generateRandomState()
  const nonce = oauth.generateRandomNonce()
  const parameters = new URLSearchParams({
    client_id: client.client_id,
    redirect_uri: redirect,
    response_type: 'code',
    scope: 'openid email profile groups offline_access',
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
    max_age: '3600',
    ...extra,
  })
  return { verifier, state, nonce, parameters }
}

async function code(client, clientAuth, { extra, dpop, par } = {}) {
  const begun = await begin(client, extra)
  const url = new URL(as.authorization_endpoint)
  if (par) {
    const answer = await oauth.pushedAuthorizationRequest(as, client, clientAuth, begun.parameters, { ...insecure, DPoP: dpop })
    const pushed = await oauth.processPushedAuthorizationResponse(as, client, answer)
    url.search = new URLSearchParams({ client_id: client.client_id, request_uri: pushed.request_uri })
  } else url.search = begun.parameters
  const back = await new Browser().login(url)
  const parameters = oauth.validateAuthResponse(as, client, back, begun.state)
  const answer = await oauth.authorizationCodeGrantRequest(as, client, clientAuth, parameters, redirect, begun.verifier, { ...insecure, DPoP: dpop })
  const tokens = await oauth.processAuthorizationCodeResponse(as, client, answer, { expectedNonce: begun.nonce, requireIdToken: true, maxAge: 3600 })
  await oauth.validateApplicationLevelSignature(as, answer, insecure)
  return tokens
}

async function whole(client, clientAuth, options = {}) {
  const tokens = await code(client, clientAuth, options)
  const claims = oauth.getValidatedIdTokenClaims(tokens)
  const asked = await oauth.userInfoRequest(as, client, tokens.access_token, { ...insecure, DPoP: options.dpop })
  const said = await oauth.processUserInfoResponse(as, client, claims.sub, asked)
  assert(said.email === config.person.email, 'email')
  const answer = await oauth.refreshTokenGrantRequest(as, client, clientAuth, tokens.refresh_token, { ...insecure, DPoP: options.dpop })
  const fresh = await oauth.processRefreshTokenResponse(as, client, answer)
  assert(fresh.refresh_token && fresh.refresh_token !== tokens.refresh_token, 'rotation')
  assert(fresh.token_type === (options.dpop ? 'dpop' : 'bearer'), 'token type')
  return { ...fresh, sub: claims.sub }
}

const web = { client_id: config.clients.web.id }
const spa = { client_id: config.clients.spa.id }
const signing = { client_id: config.clients.signing.id }
const resource = { client_id: config.clients.resource.id }
const resourceAuth = oauth.ClientSecretBasic(config.clients.resource.secret)
const proof = async (client) => oauth.DPoP(client, await oauth.generateKeyPair('ES256'))

const FLOWS = {
  'oauth 2.0 metadata': async () => {
    const found = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { ...insecure, algorithm: 'oauth2' }))
    assert(found.issuer === config.issuer, 'issuer')
  },
  'code with client_secret_basic': async () => whole(web, auth.basic()),
  'code with client_secret_post': async () => whole(web, auth.post()),
  'code of a public client': async () => whole(spa, auth.none()),
  'code with private_key_jwt': async () => whole(signing, await auth.jwt()),
  'code by fragment': async () => {
    const begun = await begin(web, { response_mode: 'fragment' })
    const url = new URL(as.authorization_endpoint)
    url.search = begun.parameters
    const back = await new Browser().login(url)
    assert(back.search === '' && back.hash, 'fragment')
    oauth.validateAuthResponse(as, web, new URLSearchParams(back.hash.slice(1)), begun.state)
  },
  'pushed request': async () => whole(web, auth.basic(), { par: true }),
  'pushed request with private_key_jwt': async () => whole(signing, await auth.jwt(), { par: true }),
  'DPoP': async () => whole(web, auth.basic(), { dpop: await proof(web) }),
  'DPoP of a public client': async () => whole(spa, auth.none(), { dpop: await proof(spa) }),
  'DPoP from the pushed request on': async () => whole(spa, auth.none(), { dpop: await proof(spa), par: true }),
  'DPoP-bound refresh token with another key': async () => {
    const tokens = await code(spa, auth.none(), { dpop: await proof(spa) })
    const answer = await oauth.refreshTokenGrantRequest(as, spa, auth.none(), tokens.refresh_token, { ...insecure, DPoP: await proof(spa) })
    await refused(() => oauth.processRefreshTokenResponse(as, spa, answer), 'invalid_grant')
  },
  'access token as RFC 9068 says': async () => {
    const tokens = await code(web, auth.basic(), { extra: { resource: config.audience } })
    const request = new Request('https://api.example/', { headers: { authorization: `Bearer ${tokens.access_token}` } })
    const claims = await oauth.validateJwtAccessToken(as, request, config.audience, insecure)
    assert(claims.client_id === web.client_id, 'client_id')
  },
  'DPoP-bound access token as RFC 9068 says': async () => {
    const key = await oauth.generateKeyPair('ES256')
    const dpop = oauth.DPoP(web, key)
    const tokens = await code(web, auth.basic(), { extra: { resource: config.audience }, dpop })
    let seen
    await oauth.protectedResourceRequest(tokens.access_token, 'GET', new URL('https://api.example/'), undefined, undefined, { DPoP: dpop, [oauth.customFetch]: async (url, init) => { seen = new Request(url, init); return new Response('') } })
    await oauth.validateJwtAccessToken(as, seen, config.audience, insecure)
  },
  'introspection': async () => {
    const tokens = await code(web, auth.basic(), { extra: { resource: config.audience } })
    for (const [client, clientAuth] of [[web, auth.basic()], [resource, resourceAuth]]) {
      const answer = await oauth.introspectionRequest(as, client, clientAuth, tokens.access_token, insecure)
      const said = await oauth.processIntrospectionResponse(as, client, answer)
      assert(said.active && said.client_id === web.client_id, 'active')
    }
  },
  'signed introspection': async () => {
    const tokens = await code(web, auth.basic(), { extra: { resource: config.audience } })
    const answer = await oauth.introspectionRequest(as, resource, resourceAuth, tokens.access_token, { ...insecure, requestJwtResponse: true })
    const said = await oauth.processIntrospectionResponse(as, resource, answer)
    await oauth.validateApplicationLevelSignature(as, answer, insecure)
    assert(said.active, 'active')
  },
  'revocation': async () => {
    const tokens = await code(web, auth.basic())
    await oauth.processRevocationResponse(await oauth.revocationRequest(as, web, auth.basic(), tokens.refresh_token, insecure))
    const said = await oauth.processIntrospectionResponse(as, web, await oauth.introspectionRequest(as, web, auth.basic(), tokens.access_token, insecure))
    assert(!said.active, 'still active')
  },
  'refresh token used twice': async () => {
    const tokens = await code(web, auth.basic())
    const again = () => oauth.refreshTokenGrantRequest(as, web, auth.basic(), tokens.refresh_token, insecure)
    const fresh = await oauth.processRefreshTokenResponse(as, web, await again())
    await refused(async () => oauth.processRefreshTokenResponse(as, web, await again()), 'invalid_grant')
    const family = await oauth.refreshTokenGrantRequest(as, web, auth.basic(), fresh.refresh_token, insecure)
    await refused(() => oauth.processRefreshTokenResponse(as, web, family), 'invalid_grant')
  },
  'device': async () => {
    const answer = await oauth.deviceAuthorizationRequest(as, web, auth.basic(), { scope: 'openid email' }, insecure)
    const begun = await oauth.processDeviceAuthorizationResponse(as, web, answer)
    const poll = () => oauth.deviceCodeGrantRequest(as, web, auth.basic(), begun.device_code, insecure)
    await refused(async () => oauth.processDeviceCodeResponse(as, web, await poll()), 'authorization_pending')
    const browser = new Browser()
    const page = await browser.open(begun.verification_uri_complete)
    const confirm = await browser.press(page)
    const done = await browser.press(confirm, 'yes')
    assert(done.status === 200, 'device page')
    const tokens = await oauth.processDeviceCodeResponse(as, web, await poll(), { requireIdToken: true })
    assert(oauth.getValidatedIdTokenClaims(tokens).sub === config.person.sub, 'sub')
  },
  'client credentials': async () => {
    const answer = await oauth.clientCredentialsGrantRequest(as, web, auth.basic(), { resource: config.audience }, insecure)
    const tokens = await oauth.processClientCredentialsResponse(as, web, answer)
    const request = new Request('https://api.example/', { headers: { authorization: `Bearer ${tokens.access_token}` } })
    const claims = await oauth.validateJwtAccessToken(as, request, config.audience, insecure)
    assert(claims.sub === web.client_id, 'sub')
  },
  'client credentials with private_key_jwt and DPoP': async () => {
    const dpop = await proof(signing)
    const answer = await oauth.clientCredentialsGrantRequest(as, signing, await auth.jwt(), {}, { ...insecure, DPoP: dpop })
    const tokens = await oauth.processClientCredentialsResponse(as, signing, answer)
    assert(tokens.token_type === 'dpop', 'token type')
  },
  'token exchange': async () => {
    const tokens = await code(web, auth.basic(), { extra: { resource: config.gateway } })
    const answer = await oauth.genericTokenEndpointRequest(as, web, auth.none(), 'urn:ietf:params:oauth:grant-type:token-exchange', {
      subject_token: tokens.access_token,
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      audience: config.exchange,
    }, insecure)
    const given = await oauth.processGenericTokenEndpointResponse(as, web, answer)
    const request = new Request('https://api.example/', { headers: { authorization: `Bearer ${given.access_token}` } })
    await oauth.validateJwtAccessToken(as, request, config.exchange, insecure)
  },
  'registration': async () => {
    const answer = await oauth.dynamicClientRegistrationRequest(as, { redirect_uris: [redirect], grant_types: ['authorization_code', 'refresh_token'], client_name: 'A tool' }, insecure)
    const client = await oauth.processDynamicClientRegistrationResponse(answer)
    await whole(client, oauth.ClientSecretBasic(client.client_secret))
  },
  'registration of a public client': async () => {
    const answer = await oauth.dynamicClientRegistrationRequest(as, { redirect_uris: [redirect], grant_types: ['authorization_code', 'refresh_token'], token_endpoint_auth_method: 'none' }, insecure)
    const client = await oauth.processDynamicClientRegistrationResponse(answer)
    await whole(client, oauth.None(), { par: true })
  },
  'protected resource metadata': async () => {
    const resource = new URL(config.resource.document.resource)
    let asked
    const fetched = async (url) => { asked = url; return Response.json(config.resource.document) }
    const answer = await oauth.resourceDiscoveryRequest(resource, { [oauth.customFetch]: fetched })
    const found = await oauth.processResourceDiscoveryResponse(resource, answer)
    assert(asked === config.resource.location, `${asked}`)
    assert(found.authorization_servers.includes(config.issuer), 'issuer')
  },
  'wrong secret': async () => {
    const answer = await oauth.clientCredentialsGrantRequest(as, web, oauth.ClientSecretBasic('wrong'), {}, insecure)
    let cause
    try { await oauth.processClientCredentialsResponse(as, web, answer) } catch (error) { cause = error }
    assert(cause instanceof oauth.WWWAuthenticateChallengeError || cause?.error === 'invalid_client', `${cause}`)
  },
  'logout': async () => {
    const begun = await begin(web)
    const url = new URL(as.authorization_endpoint)
    url.search = begun.parameters
    const browser = new Browser()
    const parameters = oauth.validateAuthResponse(as, web, await browser.login(url), begun.state)
    const answer = await oauth.authorizationCodeGrantRequest(as, web, auth.basic(), parameters, redirect, begun.verifier, insecure)
    const tokens = await oauth.processAuthorizationCodeResponse(as, web, answer, { expectedNonce: begun.nonce })
    const end = new URL(as.end_session_endpoint)
    end.search = new URLSearchParams({ id_token_hint: tokens.id_token, post_logout_redirect_uri: redirect, state: 'bye' })
    const done = await browser.open(end)
    assert(done.headers.get('location') === `${redirect}?state=bye`, `${done.status}`)
  },
}

async function refused(act, code) {
  try {
    await act()
  } catch (error) {
    assert(error.error === code, `${error.error ?? error} instead of ${code}`)
    return
  }
  throw new Error(`no ${code}`)
}

for (const [flow, run] of Object.entries(FLOWS)) {
  let error = ''
  try {
    await run()
  } catch (cause) {
    error = `${cause?.code ?? ''} ${cause?.message ?? cause} ${JSON.stringify(cause?.cause ?? '').slice(0, 500)}`.trim()
  }
  process.stdout.write(JSON.stringify({ flow, error }) + '\n')
}
