import { Type } from '@sinclair/typebox'
import { NoQuery } from './common.ts'
import { errorResponses } from './error.ts'

const tags = ['pages']
const answer = (type: string, description: string) => ({
  200: { description, content: { [type]: { schema: Type.String() } } },
  ...errorResponses
})

export const getIcon = {
  operationId: 'getIcon',
  summary: 'The icon of the site',
  tags,
  querystring: NoQuery,
  response: answer('image/svg+xml', 'A drawing.')
}

export const getRobots = {
  operationId: 'getRobots',
  summary: 'The rules for search engines',
  tags,
  querystring: NoQuery,
  response: answer('text/plain', 'RFC 9309.')
}

export const getSecurityContact = {
  operationId: 'getSecurityContact',
  summary: 'The contact for vulnerabilities',
  tags,
  querystring: NoQuery,
  response: answer('text/plain', 'RFC 9116.')
}
