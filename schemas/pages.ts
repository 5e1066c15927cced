import { type TProperties, type TSchema, Type } from '@sinclair/typebox'
import { GithubBranch, Slug } from './apps.ts'
import { Cursor, Done, IdOrSlug, Name, NoQuery, Strict, Uuid } from './common.ts'
import { EnvVarKey } from './env-vars.ts'
import { errorResponses } from './error.ts'

const tags = ['pages']
const markup = { description: 'A page.', content: { 'text/html': { schema: Type.String() } } }
const onward = { description: 'A redirect.', type: 'null' }

/** A team by its UUID or slug; absent: the caller's first one. */
const Team = Type.Optional(
  Type.String({ minLength: 1, maxLength: 255, description: 'The team shown.', examples: ['acme'] })
)

/** The query of a page: its own parameters and the common ones. */
export function PageQuery<Properties extends TProperties>(properties: Properties) {
  return Strict({ ...properties, team: Team, done: Done })
}

/** The schema of a page. */
export function page<Query extends TSchema, Params extends TSchema | undefined = undefined>(
  operationId: string,
  summary: string,
  parts: { querystring: Query; params?: Params }
) {
  return { operationId, summary, tags, ...parts, response: { 200: markup, ...errorResponses } } as {
    operationId: string
    summary: string
    tags: string[]
    querystring: Query
    params: Params
    response: typeof errorResponses & { 200: typeof markup }
  }
}

const FORM_FIELDS = {
  _csrf: Type.String({
    maxLength: 256,
    description: 'The CSRF token of the page with the form.',
    examples: ['MTcxNTk0']
  }),
  _key: Type.Optional(
    Type.String({
      maxLength: 64,
      description: 'Makes the change happen only once, like Idempotency-Key.',
      examples: ['9f1c2a7e-6f0e-4b57-8f53-2f9a5a1d1c11']
    })
  ),
  _rev: Type.Optional(
    Type.String({ maxLength: 20, description: 'The version that the form showed, like If-Match.', examples: ['1'] })
  )
}

/** The body of a form: its own fields and the common ones. Empty fields are absent. */
export function FormBody<Properties extends TProperties>(title: string, properties: Properties) {
  return Strict({ ...properties, ...FORM_FIELDS }, { title })
}

/** A ticked checkbox. */
export const Ticked = Type.Optional(Type.String({ maxLength: 10, description: 'Present: yes.', examples: ['on'] }))

/** The schema of a form on a page. */
export function submission<Body extends TSchema, Params extends TSchema | undefined = undefined>(
  operationId: string,
  summary: string,
  parts: { body: Body; params?: Params }
) {
  return {
    operationId,
    summary,
    tags,
    querystring: NoQuery,
    ...parts,
    response: { 200: markup, 303: onward, ...errorResponses }
  } as {
    operationId: string
    summary: string
    tags: string[]
    querystring: typeof NoQuery
    body: Body
    params: Params
    response: typeof errorResponses & { 200: typeof markup; 303: typeof onward }
  }
}

export const AppParams = Strict({ app: IdOrSlug })
export const DeploymentParams = Strict({ app: IdOrSlug, id: Uuid })

export const home = page('getStart', 'The home page', { querystring: PageQuery({}) })
export const design = page('getDesign', 'Every part of the pages, in every state', { querystring: PageQuery({}) })
export const dashboard = page('getDashboard', 'The dashboard of a team', { querystring: PageQuery({}) })

export const APP_SORTS = ['attention', 'name', 'deployed', 'created'] as const
export const appList = page('getAppsPage', 'The apps of a team', {
  querystring: PageQuery({
    q: Type.Optional(
      Type.String({ maxLength: 100, description: 'Part of the name or the repository.', examples: ['web'] })
    ),
    sort: Type.Optional(
      Type.Unsafe<(typeof APP_SORTS)[number]>({
        type: 'string',
        enum: [...APP_SORTS],
        description: 'The sort order.',
        default: 'attention'
      })
    )
  })
})

export const newApp = page('getNewAppPage', 'The form for a new app', {
  querystring: PageQuery({
    find: Type.Optional(
      Type.String({ maxLength: 140, description: 'Part of the name of a repository at GitHub.', examples: ['web'] })
    ),
    repository: Type.Optional(
      Type.String({ maxLength: 200, description: 'The repository that was chosen.', examples: ['acme/website'] })
    ),
    branch: Type.Optional(
      Type.String({ maxLength: 255, description: 'The branch that it begins with.', examples: ['main'] })
    )
  })
})

const SOURCES = ['git', 'github', 'none'] as const
export const submitNewApp = submission('submitNewApp', 'Create an app from the form', {
  body: FormBody('NewAppForm', {
    team: Team,
    name: Name,
    slug: Type.Optional(Slug),
    source: Type.Unsafe<(typeof SOURCES)[number]>({
      type: 'string',
      enum: [...SOURCES],
      description: 'The kind of its source.'
    }),
    repository: Type.Optional(
      Type.String({
        maxLength: 500,
        description: 'The repository: owner/name on GitHub, or a git URL.',
        examples: ['https://git.example.com/acme/website.git']
      })
    ),
    branch: Type.Optional(Type.String({ maxLength: 255, description: 'The branch to build.', examples: ['main'] })),
    directory: Type.Optional(
      Type.String({ maxLength: 255, description: 'The directory within the repository.', examples: ['packages/web'] })
    ),
    region: Type.Optional(
      Type.String({
        pattern: '^[a-z]{3}$',
        'x-form': 'the code of a region',
        description: 'The region to run in.',
        examples: ['iad']
      })
    ),
    next: Type.Optional(
      Type.Unsafe<'deploy' | 'stay'>({
        type: 'string',
        enum: ['deploy', 'stay'],
        description: 'The next step.',
        default: 'stay'
      })
    )
  })
})

export const submitDeploy = submission('submitDeploy', 'Deploy the newest commit, from a page', {
  params: AppParams,
  body: FormBody('DeployForm', {})
})

export const appPage = page('getAppPage', 'The overview of an app', { params: AppParams, querystring: PageQuery({}) })

export const deploymentList = page('getDeploymentsPage', 'The deployments of an app', {
  params: AppParams,
  querystring: PageQuery({ cursor: Type.Optional(Cursor) })
})

export const deploymentPage = page('getDeploymentPage', 'A deployment and its build log', {
  params: DeploymentParams,
  querystring: PageQuery({})
})

export const submitCancel = submission('submitCancel', 'Cancel a deployment, from a page', {
  params: DeploymentParams,
  body: FormBody('CancelForm', {})
})

export const submitRollback = submission('submitRollback', 'Roll back, from a page', {
  params: AppParams,
  body: FormBody('RollbackForm', { deployment: Type.Optional(Uuid) })
})

const SINCE = ['15m', '1h', '24h'] as const
/** An optional filter of a form: browsers send it empty. */
const orOpen = <const Values extends readonly string[]>(values: Values, description: string) =>
  Type.Optional(Type.Unsafe<Values[number] | ''>({ type: 'string', enum: ['', ...values], description }))

export const logPage = page('getLogPage', 'The log of an app', {
  params: AppParams,
  querystring: PageQuery({
    search: Type.Optional(
      Type.String({
        maxLength: 200,
        pattern: '^[^\\p{Cc}\\p{Cs}]*$',
        'x-form': 'one line of text',
        description: 'Text that the line must contain.',
        examples: ['timeout']
      })
    ),
    level: orOpen(['debug', 'info', 'warn', 'error'], 'Only lines with this level.'),
    since: orOpen(SINCE, 'Only lines of this period.'),
    cursor: Type.Optional(Cursor)
  })
})

export const appSettings = page('getAppSettingsPage', 'The settings of an app', {
  params: AppParams,
  querystring: PageQuery({})
})

export const submitAppSettings = submission('submitAppSettings', 'Change the settings of an app, from a page', {
  params: AppParams,
  body: FormBody('AppSettingsForm', {
    part: Type.Unsafe<'general' | 'source'>({
      type: 'string',
      enum: ['general', 'source'],
      description: 'Which form was sent.'
    }),
    name: Type.Optional(Name),
    slug: Type.Optional(
      Type.String({ maxLength: 63, description: 'Shown only; it cannot be changed.', examples: ['hello'] })
    ),
    region: Type.Optional(
      Type.String({
        pattern: '^[a-z]{3}$',
        'x-form': 'the code of a region',
        description: 'The region to run in.',
        examples: ['iad']
      })
    ),
    source: Type.Optional(
      Type.Unsafe<'git' | 'github'>({ type: 'string', enum: ['git', 'github'], description: 'The kind of its source.' })
    ),
    repository: Type.Optional(
      Type.String({ maxLength: 500, description: 'The repository.', examples: ['acme/website'] })
    ),
    branch: Type.Optional(GithubBranch),
    directory: Type.Optional(
      Type.String({ maxLength: 255, description: 'The directory within the repository.', examples: ['packages/web'] })
    ),
    autoDeploy: Ticked
  })
})

export const submitEnvVars = submission('submitEnvVars', 'Set variables of an app, from a page', {
  params: AppParams,
  body: FormBody('EnvVarsForm', {
    lines: Type.String({
      minLength: 1,
      maxLength: 262_144,
      description: 'One NAME=value per line.',
      examples: ['API_KEY=s3cret']
    }),
    buildTime: Ticked,
    next: Type.Optional(
      Type.Unsafe<'deploy' | 'stay'>({ type: 'string', enum: ['deploy', 'stay'], description: 'The next step.' })
    )
  })
})

export const submitEnvVarDeletion = submission('submitEnvVarDeletion', 'Delete a variable of an app, from a page', {
  params: AppParams,
  body: FormBody('EnvVarDeletionForm', { key: EnvVarKey })
})

export const deleteAppPage = page('getDeleteAppPage', 'The confirmation page for deleting an app', {
  params: AppParams,
  querystring: PageQuery({})
})

export const submitAppDeletion = submission('submitAppDeletion', 'Delete an app, from a page', {
  params: AppParams,
  body: FormBody('AppDeletionForm', {
    confirm: Type.Optional(
      Type.String({ maxLength: 255, description: 'The slug, as a confirmation.', examples: ['hello'] })
    )
  })
})
