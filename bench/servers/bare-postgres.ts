/** The same queries as Rhone's on bare Fastify and postgres.js: no checks, no headers, no limits. */
import type { FastifyInstance } from 'fastify'
import type { Sql } from 'postgres'

const text = { type: 'string' }
const appSchema = {
  type: 'object',
  properties: {
    id: text,
    teamId: text,
    name: text,
    slug: text,
    url: { type: ['string', 'null'] },
    githubRepo: { type: ['string', 'null'] },
    gitUrl: { type: ['string', 'null'] },
    rootDirectory: { type: ['string', 'null'] },
    healthPath: { type: ['string', 'null'] },
    healthGrace: { type: ['integer', 'null'] },
    port: { type: ['integer', 'null'] },
    githubBranch: text,
    region: text,
    autoDeploy: { type: 'boolean' },
    version: { type: 'integer' },
    createdAt: { type: 'string', format: 'date-time' },
    updatedAt: { type: 'string', format: 'date-time' }
  }
}

export function mount(app: FastifyInstance, sql: Sql): void {
  const columns = sql`
    apps.id, apps.team_id as "teamId", apps.name, apps.slug, null as url, apps.github_repo as "githubRepo",
    apps.git_url as "gitUrl", apps.root_directory as "rootDirectory", apps.health_path as "healthPath",
    apps.health_grace as "healthGrace", apps.port, apps.github_branch as "githubBranch", apps.region, apps.auto_deploy as "autoDeploy", apps.version,
    apps.created_at as "createdAt", apps.updated_at as "updatedAt"`

  app.get<{ Params: { user: string; app: string } }>(
    '/users/:user/apps/:app',
    { schema: { response: { 200: appSchema } } },
    async ({ params }) => {
      const [found] = await sql`
        select ${columns}, team_members.role from apps
        join team_members on team_members.team_id = apps.team_id and team_members.user_id = ${params.user}
        where apps.id = ${params.app}`
      return found
    }
  )

  app.get<{ Params: { user: string } }>(
    '/users/:user/apps',
    { schema: { response: { 200: { type: 'object', properties: { items: { type: 'array', items: appSchema } } } } } },
    async ({ params }) => {
      const items = await sql`
        select ${columns} from team_members join apps on apps.team_id = team_members.team_id
        where team_members.user_id = ${params.user} order by apps.created_at desc, apps.id desc limit 51`
      return { items: items.slice(0, 50) }
    }
  )

  app.patch<{ Params: { app: string }; Body: { name: string } }>(
    '/apps/:app',
    { schema: { response: { 200: appSchema } } },
    async ({ id, params, body, ip, headers }) =>
      sql.begin(async tx => {
        const [changed] = await tx`
          update apps set name = ${body.name}, version = version + 1 where id = ${params.app} returning ${columns}`
        await tx`
          insert into audit_logs (
            event_type, action, outcome, user_id, actor, team_id, app_id, resource, resource_id, resource_name, details,
            ip, user_agent, request_id
          ) values (
            'app', 'update', 'success', null, 'somebody', ${changed!.teamId}, ${params.app}, 'app', ${params.app},
            ${changed!.name}, ${sql.json({ fields: Object.keys(body) })}, ${ip}, ${headers['user-agent'] ?? null}, ${id}
          )`
        return changed
      })
  )
}
