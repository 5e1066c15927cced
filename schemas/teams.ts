import { Type } from '@sinclair/typebox'
import { IdOrSlug, NoQuery, OneOf, Page, PageQuery, Sent, Strict, Timestamp, Uuid } from './common.ts'
import { errorResponses } from './error.ts'

export const Role = OneOf(['member', 'admin', 'owner'], { description: "The caller's role in this team." })

export const Team = Sent({
  id: Uuid,
  name: Type.String(),
  slug: Type.String(),
  plan: Type.String({ examples: ['free'] }),
  role: Role,
  createdAt: Timestamp
})

export const listTeams = {
  operationId: 'listTeams',
  summary: 'List your teams',
  tags: ['teams'],
  querystring: Strict(PageQuery),
  response: { 200: Page(Team), ...errorResponses }
}

export const getTeam = {
  operationId: 'getTeam',
  summary: 'Get one of your teams',
  tags: ['teams'],
  params: Strict({ team: IdOrSlug }),
  querystring: NoQuery,
  response: { 200: Team, ...errorResponses }
}
