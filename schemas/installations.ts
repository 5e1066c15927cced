import { Type } from '@sinclair/typebox'
import {
  adapted,
  CreatedAt,
  Headers,
  IdempotencyKey,
  IdOrSlug,
  NoContent,
  NoQuery,
  Nullable,
  OneOf,
  Page,
  PageQuery,
  Sent,
  Strict,
  Text,
  Timestamp,
  Uuid
} from './common.ts'
import { errorResponses } from './error.ts'

const tags = ['GitHub']
const team = Strict({ team: IdOrSlug })

export const Installation = Sent(
  {
    id: Uuid,
    installationId: Type.Integer({ description: "GitHub's number of it." }),
    accountType: OneOf(['User', 'Organization'], { description: 'What kind of account has installed the App.' }),
    accountLogin: Type.String({ description: 'What that account is called.', examples: ['acme'] }),
    suspendedAt: Nullable(adapted(Timestamp, { description: 'Since when the account lets the App do nothing.' })),
    createdAt: CreatedAt
  },
  { title: 'Installation' }
)

export const Repository = Sent(
  {
    id: Type.Integer({ description: "GitHub's number of it." }),
    fullName: Type.String({ description: 'owner/name', examples: ['acme/website'] }),
    isPrivate: Type.Boolean({ description: 'Whether only its collaborators see it.' }),
    defaultBranch: Text('The branch that is checked out by default.', 'main'),
    installationId: Type.Integer({ description: 'The installation that it is seen through.' })
  },
  { title: 'Repository' }
)

export const listInstallations = {
  operationId: 'listInstallations',
  summary: 'List where a team has installed the GitHub App',
  tags,
  params: team,
  querystring: Strict(PageQuery),
  response: { 200: Page(Installation), ...errorResponses }
}

export const deleteInstallation = {
  operationId: 'deleteInstallation',
  summary: 'Disconnect a team from an installation of the GitHub App',
  description: 'Pushes no longer deploy its apps. At GitHub the App stays installed.',
  tags,
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  params: Strict({ team: IdOrSlug, id: Uuid }),
  querystring: NoQuery,
  response: { 204: NoContent, ...errorResponses }
}

export const listRepositories = {
  operationId: 'listRepositories',
  summary: "Search the repositories of a team's installations",
  description: 'By name. What has changed at GitHub is here within a minute.',
  tags,
  params: team,
  querystring: Strict({
    ...PageQuery,
    q: Type.Optional(Type.String({ maxLength: 140, description: 'What the name contains.', examples: ['web'] }))
  }),
  response: { 200: Page(Repository), ...errorResponses }
}

const redirect = { description: 'On to the next page.', type: 'null' }
const FromGithub = Type.Optional(
  Type.String({ maxLength: 2_048, description: 'As GitHub sends it.', examples: ['a1b2c3'] })
)

export const connectGithub = {
  operationId: 'connectGithub',
  summary: 'Install the GitHub App for a team',
  description: 'For browsers: it leads to GitHub, and back.',
  tags,
  querystring: Strict({ team: IdOrSlug }),
  response: { 303: redirect, ...errorResponses }
}

export const completeConnection = {
  operationId: 'completeConnection',
  summary: 'Come back from installing the GitHub App',
  tags,
  querystring: Strict({
    code: FromGithub,
    state: FromGithub,
    installation_id: Type.Optional(
      Type.String({
        pattern: '^[1-9]\\d{0,14}$',
        'x-form': "GitHub's number of the installation",
        description: "GitHub's number of the installation.",
        examples: ['4711']
      })
    ),
    setup_action: FromGithub,
    error: FromGithub,
    error_description: FromGithub,
    error_uri: FromGithub
  }),
  response: { 303: redirect, ...errorResponses }
}
