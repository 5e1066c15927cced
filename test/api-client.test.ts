import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, describe, it, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { testApp } from './support/app.ts'

const ROOT = join(import.meta.dirname, '..')
const run = promisify(execFile)

/** A program that uses the generated client; it compiles only if the types are right. */
const PROGRAM = `
import { createApp, defaults, deploy, getApp, listApps, updateApp, type App, type Error } from './client.ts'

defaults.baseUrl = process.argv[2]!
defaults.headers = { authorization: \`Bearer \${process.argv[3]}\` }

const created = await createApp({ newApp: { name: 'generated' } })
if (created.status !== 201) throw new Error(JSON.stringify(created.data))
const app: App = created.data
const changed = await updateApp({ app: app.slug, appPatch: { autoDeploy: false } })
const listed = await listApps({ limit: 10 })
const undeployable = await deploy({ app: app.id }) // the body is optional
const missing = await getApp({ app: 'nothing-like-it' })
const fault: Error | undefined = missing.status === 404 ? missing.data : undefined
console.log(JSON.stringify({
  changed: changed.status === 200 && changed.data.autoDeploy,
  listed: listed.status === 200 && listed.data.items.map(({ slug }) => slug),
  undeployable: undeployable.status,
  fault: fault?.error.code
}))
`

const server = await testApp({ after } as unknown as TestContext)
const url = await server.app.listen({ host: '127.0.0.1', port: 0 })
await mkdir(join(ROOT, '.cache'), { recursive: true })
const folder = await mkdtemp(join(ROOT, '.cache/client-'))
after(() => rm(folder, { recursive: true, force: true }))

describe('a client generated from /openapi.json', () => {
  it('compiles without errors, and can call the server', async () => {
    const spec = join(folder, 'openapi.json')
    await writeFile(spec, JSON.stringify((await server.as(null, 'GET', '/openapi.json')).json()))
    const generator = join(ROOT, 'node_modules/oazapfts/dist/cli.js')
    await run(process.execPath, [generator, spec, join(folder, 'client.ts'), '--argumentStyle=object'])
    await writeFile(join(folder, 'program.ts'), PROGRAM)

    const strict = [
      '--strict',
      '--noEmit',
      '--allowImportingTsExtensions',
      '--module',
      'nodenext',
      '--target',
      'es2024'
    ]
    await run(process.execPath, [
      join(ROOT, 'node_modules/typescript/bin/tsc'),
      '--ignoreConfig',
      ...strict,
      '--types',
      'node',
      join(folder, 'program.ts')
    ]).catch(({ stdout, stderr }) => assert.fail(stdout + stderr))

    const { stdout } = await run(process.execPath, [join(folder, 'program.ts'), url, server.token])
    assert.deepEqual(JSON.parse(stdout), {
      changed: false,
      listed: ['generated'],
      undeployable: 409,
      fault: 'NOT_FOUND'
    })
  })
})

interface Schema {
  $ref?: string
  type?: string | string[]
  description?: string
  properties?: Record<string, Schema>
  items?: Schema
  [keyword: string]: unknown
}
interface Content {
  [type: string]: { schema?: Schema; example?: unknown }
}
interface Operation {
  description?: string
  summary?: string
  security?: Record<string, unknown>[]
  parameters?: { name: string; description?: string; example?: unknown; schema: Schema }[]
  requestBody?: { required?: boolean; content: Content }
  responses: Record<string, { $ref?: string; content?: Content }>
}

const WITH_EXAMPLE = ['examples', 'example', 'enum', 'format', 'const', 'default']

/** Gaps of a schema: properties without a description, and text without an example. */
function unsaid(schema: Schema, place: string, isNamed = true): string[] {
  if (schema.$ref !== undefined) return []
  const isText = [schema.type].flat().includes('string')
  return [
    ...(isNamed && !schema.description ? [`${place} has no description`] : []),
    ...(isText && !WITH_EXAMPLE.some(keyword => keyword in schema) ? [`${place} has no example`] : []),
    ...Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => unsaid(inner, `${place}.${name}`)),
    ...(schema.items ? unsaid(schema.items, `${place}[]`, false) : [])
  ]
}

describe('the description of the API', () => {
  const operations = async () => {
    const document = (await server.as(null, 'GET', '/openapi.json')).json()
    const paths: [string, Record<string, Operation>][] = Object.entries(document.paths)
    const all = paths.flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ name: `${method} ${path}`, operation }))
    )
    return { document, all }
  }

  it('describes everything, with an example for every text', async () => {
    const { document, all } = await operations()
    const models: [string, Schema][] = Object.entries(document.components.schemas)
    assert.ok(models.length > 30, `only ${models.length} models`)
    const gaps = models.flatMap(([name, model]) => unsaid(model, name, false))
    for (const { name, operation } of all) {
      if (!operation.summary || !operation.description) gaps.push(`${name} has no summary or no description`)
      for (const { name: parameter, description, example, schema } of operation.parameters ?? []) {
        if (!description) gaps.push(`${name}: ${parameter} has no description`)
        if (example === undefined) gaps.push(...unsaid(schema, `${name}: ${parameter}`, false))
      }
    }
    assert.deepEqual(gaps, [])
  })

  it('names every JSON model, and has a sample of each', async () => {
    const { all } = await operations()
    const gaps: string[] = []
    for (const { name, operation } of all)
      for (const content of [
        operation.requestBody?.content,
        ...Object.values(operation.responses).map(r => r.content)
      ]) {
        const { schema, example } = content?.['application/json'] ?? {}
        if (schema?.properties) gaps.push(`${name} has a model without a name`)
        if (schema?.$ref && example === undefined) gaps.push(`${name} has no sample`)
      }
    assert.deepEqual(gaps, [])
  })

  it('states which bodies are optional, which routes accept a cookie, and each error status', async () => {
    const { document } = await operations()
    const { post } = document.paths['/api/v1/apps/{app}/deploy']
    assert.equal(post.requestBody.required, false)
    assert.equal(document.paths['/api/v1/apps'].post.requestBody.required, true)
    assert.equal(document.paths['/api/v1/apps/{app}/deployments/{id}/cancel'].post.requestBody, undefined)
    assert.deepEqual(post.security, [{ bearer: [] }, { session: [] }])
    assert.deepEqual(document.components.securitySchemes.session.name, 'rhone_session')
    const statuses = Object.keys(post.responses)
    for (const status of ['202', '400', '401', '403', '404', '409', '415', '422', '429', '500', '503'])
      assert.ok(statuses.includes(status), status)
    assert.ok(!statuses.some(status => /x/i.test(status)), 'no ranges, which most generators do not read')
    assert.deepEqual(document.components.responses.TooManyRequests.headers['Retry-After'].schema, { type: 'integer' })
  })
})
