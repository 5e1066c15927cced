import type { Registry } from '@platformatic/prom-client'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { browserState } from '../../plugins/lib/browser-state.ts'
import { type PluginInput, parseOptions } from '../../plugins/lib/options.ts'
import { createRemote } from '../../plugins/lib/remote.ts'
import { type Keyring, randomKeyring } from '../../plugins/lib/signer.ts'
import { createApi } from './api.ts'
import { appTokens } from './app-token.ts'
import { connecting } from './connecting.ts'
import { deliveriesOf } from './deliveries.ts'
import { ownersOf } from './owners.ts'
import type { Github } from './port.ts'
import { pauseOf } from './quota.ts'
import { refusals } from './refusals.ts'
import { repositoriesOf } from './repositories.ts'

export type { Commit, CommitStatus, Connected, Delivery, Github, Installation, Repository } from './port.ts'
export { InstallationUnavailable } from './unavailable.ts'

export const GithubOptions = Type.Object(
  {
    appId: Type.Integer({ default: 0, minimum: 0, description: 'The id of the GitHub App.' }),
    privateKey: Type.String({ default: '', description: 'Its private key, as PEM. Empty: no API calls.' }),
    slug: Type.String({ default: '', description: 'Its slug: the end of its URL on GitHub.' }),
    clientId: Type.String({
      default: '',
      description: 'Its OAuth client id, to verify who owns an installation. Empty: teams cannot connect.'
    }),
    clientSecret: Type.String({ default: '', description: 'The OAuth client secret.' }),
    callback: Type.String({
      default: 'http://localhost/github/callback',
      description: 'The callback URL, exactly as registered at GitHub.'
    }),
    page: Type.String({ default: '/', description: 'The page that refusals link to.' }),
    url: Type.String({
      default: 'https://github.com',
      description: 'URL of GitHub, or of a GitHub Enterprise Server.'
    }),
    apiUrl: Type.String({ default: 'https://api.github.com', description: 'URL of its REST API.' }),
    cookie: Type.String({
      default: 'rhone_github',
      minLength: 1,
      description: 'The cookie that binds a connection to the browser that started it.'
    }),
    lifetime: Type.Integer({
      default: 600,
      minimum: 1,
      description: 'Seconds within which the connection must be completed.'
    }),
    timeout: Type.Integer({
      default: 5_000,
      minimum: 1,
      description: 'Timeout for a reply of GitHub, in milliseconds.'
    })
  },
  { additionalProperties: false }
)
export type GithubOptions = Static<typeof GithubOptions>

export interface GithubDeps {
  /** Signs the cookies of browsers sent to GitHub. Without it, they must return to the process that sent them. */
  keys?: Keyring
  /** The two current secrets, in place of the options, if they can change while the server runs. */
  latest?: () => { readonly privateKey: string; readonly clientSecret: string }
  registry?: Registry
}

declare module 'fastify' {
  interface FastifyInstance {
    github: Github
  }
}

/** The GitHub App: reads repositories of the accounts that have installed it, and reports commit statuses there. */
const github: FastifyPluginAsync<PluginInput<typeof GithubOptions, GithubDeps>> = async (app, input) => {
  const options = parseOptions('rhone-github', GithubOptions, input, ['keys', 'latest', 'registry'])
  const { appId, url, callback } = options
  const { keys = randomKeyring(), latest = () => options, registry } = input
  const shared = { service: 'github', timeout: options.timeout, deadline: 3 * options.timeout, registry }
  const site = createRemote({ ...shared, baseUrl: url })
  const remote = createRemote({
    ...shared,
    baseUrl: options.apiUrl,
    headers: { accept: 'application/vnd.github+json', 'x-github-api-version': '2022-11-28' },
    retryAfter: pauseOf
  })

  const refuse = refusals(options.page)
  const owners = ownersOf({ ...options, clientSecret: () => latest().clientSecret, site, api: remote, refuse })
  const browsers = browserState({
    purpose: 'rhone github state',
    cookie: options.cookie,
    secure: callback.startsWith('https:'),
    lifetime: options.lifetime,
    keys
  })
  const api = createApi(
    remote,
    appTokens(appId, () => latest().privateKey)
  )
  const repositories = repositoriesOf(api)

  app.decorate('github', {
    ...connecting({ ...options, browsers, owners, refuse }),
    ...repositories,
    ...deliveriesOf(api),

    async cloneAuthorization(installationId, repositoryId) {
      const token = await api.tokens.get(installationId, repositoryId)
      return `basic ${Buffer.from(`x-access-token:${token}`).toString('base64')}`
    },

    async ping(signal) {
      await api.asApp({ operation: 'get_app', path: '/app', signal })
    },

    forget(installationId) {
      api.tokens.forget(installationId)
      repositories.forget(installationId)
    }
  })
}

export default fp(github, { name: 'rhone-github', fastify: '5.x' })
