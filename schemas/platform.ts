import { Type } from '@sinclair/typebox'
import { NoQuery, Page, PageQuery, Sent, Strict, Text } from './common.ts'
import { errorResponses } from './error.ts'

export const Pong = Sent({ pong: Type.Literal(true, { description: 'Always true.' }) }, { title: 'Pong' })

export const ping = {
  operationId: 'ping',
  summary: 'Answer at once',
  tags: ['platform'],
  querystring: NoQuery,
  response: { 200: Pong, ...errorResponses }
}

export const Region = Sent(
  {
    code: Text('The code.', 'iad'),
    name: Text('The name.', 'Ashburn, Virginia (US)'),
    city: Text('The nearest city.', 'Ashburn'),
    country: Text('Its ISO 3166 code.', 'US'),
    continent: Text('The continent.', 'North America'),
    latitude: Type.Number({ description: 'Latitude in degrees.' }),
    longitude: Type.Number({ description: 'Longitude in degrees.' }),
    available: Type.Boolean({ description: 'Whether it currently accepts new apps.' })
  },
  { title: 'Region' }
)

export const listRegions = {
  operationId: 'listRegions',
  summary: 'List the regions where apps can run',
  tags: ['platform'],
  querystring: Strict(PageQuery),
  response: { 200: Page(Region), ...errorResponses }
}
