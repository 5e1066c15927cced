import { type Static, Type } from '@sinclair/typebox'
import { GithubBranch } from './apps.ts'
import {
  adapted,
  CreatedAt,
  Headers,
  IdempotencyKey,
  IdOrSlug,
  NoBody,
  NoQuery,
  Nullable,
  OneOf,
  OptionalBody,
  Page,
  PageQuery,
  Sent,
  Strict,
  Text,
  Timestamp,
  UpdatedAt,
  Uuid
} from './common.ts'
import { errorResponses } from './error.ts'

const Status = OneOf(
  [
    'pending',
    'cloning',
    'analyzing',
    'building',
    'pushing',
    'built',
    'deploying',
    'live',
    'build_failed',
    'deploy_failed',
    'cancelled',
    'superseded'
  ],
  { description: '`live` serves the app; `superseded` was live before. The last five are final.' }
)
const Trigger = OneOf(['manual', 'webhook', 'rollback', 'api', 'cli'], { description: 'What started it.' })
const when = (description: string) => Nullable(adapted(Timestamp, { description }))
const text = (description: string, example: string) => Nullable(Text(description, example))
const duration = Nullable(Type.Integer({ description: 'Milliseconds; null until it is finished.' }))

export const Deployment = Sent(
  {
    id: Uuid,
    appId: adapted(Uuid, { description: 'The id of its app.' }),
    status: Status,
    trigger: Trigger,
    triggeredBy: Nullable(adapted(Uuid, { description: 'The user who started it.' })),
    commitSha: text(
      'The commit to build; null until it is known, and for an image.',
      '8f14e45fceea167a5a36dedd4bea2543d8f14e45'
    ),
    commitMessage: text('The first line of its message, or the target of the rollback.', 'Say hello'),
    commitAuthor: text('The name of its author in git.', 'Ada Lovelace'),
    branch: text('The branch to build.', 'main'),
    sourceId: Nullable(adapted(Uuid, { description: 'The id of the uploaded source; null for a commit or an image.' })),
    image: text('The image, by digest.', `registry.fly.io/hello@sha256:${'0'.repeat(64)}`),
    rollbackOf: Nullable(adapted(Uuid, { description: 'For a rollback: the deployment whose image it uses.' })),
    envVersions: Type.Unsafe<Record<string, number> | null>({
      type: ['object', 'null'],
      additionalProperties: { type: 'integer' },
      description: 'The version of the value of each env var, counted from 1.'
    }),
    config: Type.Unsafe<{ region: string; repository?: string; anyCommit?: true } | null>({
      type: ['object', 'null'],
      properties: {
        region: { type: 'string', description: 'The region that it runs in.', examples: ['iad'] },
        repository: {
          type: 'string',
          description: 'The URL that it was cloned from.',
          examples: ['https://github.com/acme/website']
        },
        anyCommit: {
          type: 'boolean',
          description: "Whether an admin has allowed a commit that is not on the app's branch.",
          examples: [true]
        }
      },
      description: 'The settings of the app that it uses.'
    }),
    errorCode: Nullable(OneOf(['BUILD_FAILED', 'DEPLOY_FAILED'], { description: 'The phase that failed.' })),
    errorMessage: text(
      'The reason of the failure, or of a cancellation by a newer deployment.',
      'The app exited with code 1.'
    ),
    errorLog: text(
      'The last output of the program that failed; secrets are masked.',
      'Error: Cannot find module "./lib"'
    ),
    buildStartedAt: when('When its last build started.'),
    buildFinishedAt: when('When the build finished or failed.'),
    buildDurationMs: duration,
    deployStartedAt: when('When its rollout started.'),
    deployFinishedAt: when('When it went live, or the rollout failed.'),
    deployDurationMs: duration,
    createdAt: CreatedAt,
    updatedAt: UpdatedAt
  },
  { title: 'Deployment' }
)

/** An image in a registry, by digest: a tag may point to another image tomorrow. */
const Image = Type.String({
  maxLength: 500,
  pattern: '^[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}$',
  'x-form': 'an image by its digest, not by a tag',
  examples: [`registry.fly.io/hello@sha256:${'0'.repeat(64)}`]
})

const CommitSha = Type.String({
  pattern: '^[0-9a-f]{40}$',
  'x-form': 'the full SHA of a commit: 40 lower-case hexadecimal digits',
  description: 'The commit to build. Absent: the newest of the branch.',
  examples: ['8f14e45fceea167a5a36dedd4bea2543d8f14e45']
})

export const DeployRequest = Strict(
  {
    commitSha: Type.Optional(CommitSha),
    commit_sha: Type.Optional(adapted(CommitSha, { description: 'Alias of commitSha.' })),
    branch: Type.Optional(adapted(GithubBranch, { description: 'The branch to build. Absent: the one of the app.' })),
    anyCommit: Type.Optional(
      Type.Boolean({
        description: "Allow a commit that is not on the app's branch. For admins of the team only, like another branch."
      })
    ),
    image: Type.Optional(adapted(Image, { description: 'A prebuilt image, by digest.' }))
  },
  { title: 'DeployRequest' }
)
export type DeployRequest = Static<typeof DeployRequest>

const RollbackRequest = Strict(
  {
    deploymentId: Type.Optional(
      adapted(Uuid, { description: 'A deployment that has been live. Absent: the one before the live one.' })
    ),
    deployment_id: Type.Optional(adapted(Uuid, { description: 'Alias of deploymentId.' }))
  },
  { title: 'RollbackRequest' }
)

const ofApp = Strict({ app: IdOrSlug })
const ofDeployment = Strict({ app: IdOrSlug, id: Uuid })
const headers = Headers({ 'idempotency-key': IdempotencyKey })

export const deploy = {
  operationId: 'deploy',
  summary: 'Deploy an app',
  description:
    'Replies once the deployment is recorded; build and rollout follow asynchronously. The newest deployment wins.',
  tags: ['deployments'],
  headers,
  params: ofApp,
  querystring: NoQuery,
  body: OptionalBody(DeployRequest),
  response: { 202: Deployment, ...errorResponses }
}

export const deploySource = {
  operationId: 'deploySource',
  summary: 'Deploy an app from an uploaded folder',
  description:
    'The body is the folder as a gzipped tar archive, `Content-Type: application/gzip`, of at most 64 MiB, with at most ' +
    '50,000 entries and 1 GiB unpacked: files, directories, and links that stay within it. Only for admins of the team, as it ' +
    'may be any code. The last upload of an app is kept for 30 days; a deployment of an app without a repository builds it again.',
  tags: ['deployments'],
  consumes: ['application/gzip'],
  headers,
  params: ofApp,
  querystring: NoQuery,
  body: Type.Unsafe<unknown>({ description: 'A gzipped tar archive.' }),
  response: { 202: Deployment, ...errorResponses }
}

export const rollback = {
  operationId: 'rollback',
  summary: 'Roll back to an earlier deployment of an app',
  description: 'Starts a new deployment of the same image, with the current env vars of the app.',
  tags: ['deployments'],
  headers,
  params: ofApp,
  querystring: NoQuery,
  body: OptionalBody(RollbackRequest),
  response: { 202: Deployment, ...errorResponses }
}

export const listDeployments = {
  operationId: 'listDeployments',
  summary: 'List the deployments of an app',
  description: 'Newest first.',
  tags: ['deployments'],
  params: ofApp,
  querystring: Strict(PageQuery),
  response: { 200: Page(Deployment), ...errorResponses }
}

export const getDeployment = {
  operationId: 'getDeployment',
  summary: 'Get a deployment',
  tags: ['deployments'],
  params: ofDeployment,
  querystring: NoQuery,
  response: { 200: Deployment, ...errorResponses }
}

export const cancelDeployment = {
  operationId: 'cancelDeployment',
  summary: 'Cancel a running deployment',
  description: 'The live version keeps serving. A finished deployment cannot be cancelled (409).',
  tags: ['deployments'],
  headers,
  params: ofDeployment,
  querystring: NoQuery,
  body: NoBody,
  response: { 202: Deployment, ...errorResponses }
}
