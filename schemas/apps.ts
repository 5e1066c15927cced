import { type Static, Type } from '@sinclair/typebox'
import {
  adapted,
  CreatedAt,
  Headers,
  IdempotencyKey,
  IdOrSlug,
  IfMatch,
  IfNoneMatch,
  Name,
  NoContent,
  NoQuery,
  NotModified,
  Nullable,
  Page,
  PageQuery,
  Sent,
  Strict,
  Text,
  UpdatedAt,
  Uuid
} from './common.ts'
import { errorResponses } from './error.ts'

export const Slug = Type.String({
  minLength: 3,
  maxLength: 63,
  pattern: '^[a-z](?:-?[a-z0-9])*$',
  'x-form': 'lower-case letters and digits, with single hyphens in between, beginning with a letter',
  description:
    "Names the app in URLs and in its host name; unique across all teams. Absent: derived from the app's name.",
  examples: ['hello']
})

const GithubRepo = Nullable(
  Type.String({
    minLength: 1,
    maxLength: 500,
    description: 'A repository on GitHub: owner/name, or its URL, which is stored as owner/name.',
    examples: ['acme/website']
  })
)

const GitUrl = Nullable(
  Type.String({
    maxLength: 500,
    minLength: 1,
    'x-form': 'an https URL of a git repository, without blanks',
    description:
      'A git repository elsewhere, or a public one on GitHub: https, without credentials. Excludes githubRepo.',
    examples: ['https://git.example.com/acme/website.git']
  })
)

const RootDirectory = Nullable(
  Type.String({
    maxLength: 255,
    pattern: '^(?!\\.{1,2}(?:/|$))[\\w@. -]{1,100}(?:/(?!\\.{1,2}(?:/|$))[\\w@. -]{1,100}){0,10}$',
    'x-form': 'a path within the repository, such as packages/web',
    description: 'The directory of the app within the repository; null: the root.',
    examples: ['packages/web']
  })
)

const HealthPath = Nullable(
  Type.String({
    maxLength: 255,
    pattern: '^/(?!/)[!-"$-~]*$',
    'x-form': 'a path of the app that begins with one slash, without blanks',
    description:
      'The health check path: a status below 400 means healthy. null: /health; on one machine, / if there is no /health.',
    examples: ['/healthz']
  })
)

const HealthGrace = Nullable(
  Type.Integer({
    minimum: 1,
    maximum: 300,
    description: 'Seconds for a new version to become healthy; null: the default of 30.',
    examples: [120]
  })
)

const Port = Nullable(
  Type.Integer({
    minimum: 1,
    maximum: 65_535,
    description:
      'The port that the app listens on at Fly, also set in PORT; null: 8080. Local apps get another port in PORT.',
    examples: [3000]
  })
)

/** A branch name that git accepts. */
export const GithubBranch = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern:
    '^(?![-/.])(?!.*(?:\\.\\.|//|/\\.|@\\{|[/.]$|\\.lock(?:/|$)))[^\\p{Cc}\\p{Cs}\\p{Bidi_Control}\\s~^:?*\\[\\\\]+$',
  'x-form': 'the name of a git branch',
  description: 'A branch of the repository.',
  examples: ['main']
})
const Region = Type.String({
  pattern: '^[a-z]{3}$',
  'x-form': 'the code of a region, as GET /api/v1/regions lists them',
  description: 'The code of the region to run in; see GET /api/v1/regions.',
  examples: ['iad']
})
const AutoDeploy = Type.Boolean({ description: 'Whether a push to the branch deploys.' })

export const App = Sent(
  {
    id: Uuid,
    teamId: adapted(Uuid, { description: 'The team that owns it.' }),
    name: Text('The display name.', 'hello'),
    slug: Text('The name in URLs.', 'hello'),
    url: Nullable(Text('The URL of the app; null while unknown.', 'https://hello.example.com/')),
    githubRepo: Nullable(Text('The GitHub repository that it is built from.', 'acme/website')),
    gitUrl: Nullable(
      Text('The git repository elsewhere that it is built from.', 'https://git.example.com/acme/website.git')
    ),
    rootDirectory: Nullable(Text('Its directory within the repository; null: the root.', 'packages/web')),
    healthPath: Nullable(Text('The health check path; null: the default.', '/healthz')),
    healthGrace: Nullable(Type.Integer({ description: 'Seconds to become healthy; null: the default.' })),
    port: Nullable(Type.Integer({ description: 'The port that it listens on; null: the default.' })),
    githubBranch: Text('The branch to build.', 'main'),
    region: Text('The region that it runs in.', 'iad'),
    autoDeploy: Type.Boolean({ description: 'Whether a push to the branch deploys.' }),
    version: Type.Integer({ description: 'Version of the app, incremented by each change.' }),
    createdAt: CreatedAt,
    updatedAt: UpdatedAt
  },
  { title: 'App' }
)
export type App = Static<typeof App>

/** All settings of an app that can be changed. PUT replaces all of them; omitted ones get their defaults. */
export const AppSettings = Strict(
  {
    name: Name,
    githubRepo: Type.Optional(adapted(GithubRepo, { default: null })),
    gitUrl: Type.Optional(adapted(GitUrl, { default: null })),
    rootDirectory: Type.Optional(adapted(RootDirectory, { default: null })),
    healthPath: Type.Optional(adapted(HealthPath, { default: null })),
    healthGrace: Type.Optional(adapted(HealthGrace, { default: null })),
    port: Type.Optional(adapted(Port, { default: null })),
    githubBranch: Type.Optional(adapted(GithubBranch, { default: 'main' })),
    region: Type.Optional(adapted(Region, { default: 'iad' })),
    autoDeploy: Type.Optional(adapted(AutoDeploy, { default: true }))
  },
  { title: 'AppSettings' }
)
export type AppSettings = Static<typeof AppSettings>

/** Some of the settings. Omitted ones stay as they are, so there are no defaults here. */
export const AppPatch = Strict(
  {
    name: Type.Optional(Name),
    githubRepo: Type.Optional(GithubRepo),
    gitUrl: Type.Optional(GitUrl),
    rootDirectory: Type.Optional(RootDirectory),
    healthPath: Type.Optional(HealthPath),
    healthGrace: Type.Optional(HealthGrace),
    port: Type.Optional(Port),
    githubBranch: Type.Optional(GithubBranch),
    region: Type.Optional(Region),
    autoDeploy: Type.Optional(AutoDeploy)
  },
  { title: 'AppPatch', minProperties: 1 }
)
export type AppPatch = Static<typeof AppPatch>

export const NewApp = Strict(
  {
    ...AppSettings.properties,
    slug: Type.Optional(Slug),
    team: Type.Optional(adapted(IdOrSlug, { description: 'The UUID or slug of its team. Absent: your personal team.' }))
  },
  { title: 'NewApp' }
)
export type NewApp = Static<typeof NewApp>

const params = Strict({ app: IdOrSlug })
const ifMatch = Headers({ 'if-match': IfMatch, 'idempotency-key': IdempotencyKey })

export const listApps = {
  operationId: 'listApps',
  summary: 'List the apps of your teams',
  tags: ['apps'],
  querystring: Strict({
    ...PageQuery,
    team: Type.Optional(adapted(IdOrSlug, { description: 'Only the apps of this team.' }))
  }),
  response: { 200: Page(App), ...errorResponses }
}

export const createApp = {
  operationId: 'createApp',
  summary: 'Create an app',
  tags: ['apps'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  querystring: NoQuery,
  body: NewApp,
  response: { 201: App, ...errorResponses }
}

export const getApp = {
  operationId: 'getApp',
  summary: 'Get an app',
  tags: ['apps'],
  headers: Headers({ 'if-none-match': IfNoneMatch }),
  params,
  querystring: NoQuery,
  response: { 200: App, 304: NotModified, ...errorResponses }
}

export const replaceApp = {
  operationId: 'replaceApp',
  summary: "Replace an app's settings",
  tags: ['apps'],
  headers: ifMatch,
  params,
  querystring: NoQuery,
  body: AppSettings,
  response: { 200: App, ...errorResponses }
}

export const updateApp = {
  ...replaceApp,
  operationId: 'updateApp',
  summary: "Change some of an app's settings",
  body: AppPatch
}

export const deleteApp = {
  operationId: 'deleteApp',
  summary: 'Delete an app',
  tags: ['apps'],
  headers: ifMatch,
  params,
  querystring: NoQuery,
  response: { 204: NoContent, ...errorResponses }
}
