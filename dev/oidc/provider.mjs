// npm oidc-provider, a certified one, with the clients of a configuration; whoever comes logs in and agrees at once.
// Usage: node provider.mjs PORT < configuration (JSON: clients, resources)
import Provider, { errors } from 'oidc-provider'

const config = JSON.parse(await new Promise((resolve) => {
  let text = ''
  process.stdin.on('data', (chunk) => { text += chunk }).on('end', () => resolve(text))
}))
const port = Number(process.argv[2])
const issuer = `http://127.0.0.1:${port}`

const provider = new Provider(issuer, {
  clients: config.clients,
  routes: {
    authorization: '/authorize',
    token: '/token',
    userinfo: '/userinfo',
    introspection: '/introspect',
    revocation: '/revoke',
    pushed_authorization_request: '/par',
    device_authorization: '/device_authorization',
    code_verification: '/device',
    registration: '/register',
    end_session: '/logout',
    jwks: '/.well-known/jwks.json',
  },
  scopes: ['openid', 'profile', 'email', 'groups', 'offline_access'],
  claims: { openid: ['sub'], email: ['email'], profile: ['name'], groups: ['groups'] },
  pkce: { required: () => true },
  cookies: { keys: ['a key of no importance'], long: { sameSite: 'none' } },
  enableHttpPostMethods: true,
  clientBasedCORS: () => true,
  rotateRefreshToken: true,
  responseTypes: ['code'],
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  findAccount: async (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id, email: 'ana@corp.example' }) }),
  renderError: async (ctx, out) => { ctx.type = 'json'; ctx.body = out },
  features: {
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: async (ctx, client, token) => token.clientId === client.clientId },
    revocation: { enabled: true },
    pushedAuthorizationRequests: { enabled: true },
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    dPoP: { enabled: true },
    registration: { enabled: true },
    registrationManagement: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    claimsParameter: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: async () => true,
      getResourceServerInfo: async (ctx, resource) => {
        if (!config.resources.includes(resource)) throw new errors.InvalidTarget()
        return { scope: 'invoices.read', audience: resource, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } }
      },
    },
  },
})

provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next()
  const { prompt, params, session } = await provider.interactionDetails(ctx.req, ctx.res)
  if (prompt.name === 'login') {
    await provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: 'userid:1' } }, { mergeWithLastSubmission: false })
  } else {
    const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id })
    grant.addOIDCScope('openid profile email groups offline_access')
    for (const resource of config.resources) grant.addResourceScope(resource, 'invoices.read')
    const grantId = await grant.save()
    await provider.interactionFinished(ctx.req, ctx.res, { consent: { grantId } }, { mergeWithLastSubmission: true })
  }
  ctx.respond = false
})
provider.listen(port, '127.0.0.1', () => process.stdout.write('ready\n'))
