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
    installationId: Type.Integer({ description: 'Its id at GitHub.' }),
    accountType: OneOf(['User', 'Organization'], { description: 'The kind of the account.' }),
    accountLogin: Type.String({ description: 'The name of the account.', examples: ['acme'] }),
    suspendedAt: Nullable(adapted(Timestamp, { description: 'When the account suspended the App.' })),
    createdAt: CreatedAt
  },
  { title: 'Installation' }
)

export const Repository = Sent(
  {
    id: Type.Integer({ description: 'Its id at GitHub.' }),
    fullName: Type.String({ description: 'owner/name', examples: ['acme/website'] }),
    isPrivate: Type.Boolean({ description: 'Whether the repository is private.' }),
    defaultBranch: Text('The default branch.', 'main'),
    installationId: Type.Integer({ description: 'The installation that gives access to it.' })
  },
  { title: 'Repository' }
)

export const listInstallations = {
  operationId: 'listInstallations',
  summary: 'List the GitHub App installations of a team',
  tags,
  params: team,
  querystring: Strict(PageQuery),
  response: { 200: Page(Installation), ...errorResponses }
}

export const deleteInstallation = {
  operationId: 'deleteInstallation',
  summary: 'Disconnect a team from an installation of the GitHub App',
  description: 'Pushes no longer deploy apps of the team. The App stays installed at GitHub.',
  tags,
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  params: Strict({ team: IdOrSlug, id: Uuid }),
  querystring: NoQuery,
  response: { 204: NoContent, ...errorResponses }
}

export const listRepositories = {
  operationId: 'listRepositories',
  summary: "Search the repositories of a team's installations",
  description: 'Ordered by name. Changes at GitHub appear within a minute.',
  tags,
  params: team,
  querystring: Strict({
    ...PageQuery,
    q: Type.Optional(Type.String({ maxLength: 140, description: 'A part of the name.', examples: ['web'] }))
  }),
  response: { 200: Page(Repository), ...errorResponses }
}

const redirect = { description: 'A redirect.', type: 'null' }
const FromGithub = Type.Optional(Type.String({ maxLength: 2_048, description: 'Set by GitHub.', examples: ['a1b2c3'] }))

export const connectGithub = {
  operationId: 'connectGithub',
  summary: 'Install the GitHub App for a team',
  description: 'For browsers: redirects to GitHub and back.',
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
        'x-form': 'The id of the installation at GitHub',
        description: 'The id of the installation at GitHub.',
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
