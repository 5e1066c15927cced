import type * as http from 'node:http'

/**
 * What is used of Node's `http`. Not imported from there: an `import` of one value reads all exports of the module, and one
 * of them loads Node's client for `fetch`, which takes a tenth of a second and ten megabytes of a start.
 */
export const {
  Agent,
  createServer,
  IncomingMessage,
  request,
  ServerResponse,
  STATUS_CODES,
  validateHeaderName,
  validateHeaderValue
} = process.getBuiltinModule('node:http')

export type Agent = http.Agent
export type IncomingMessage = http.IncomingMessage
export type ServerResponse<Request extends http.IncomingMessage = http.IncomingMessage> = http.ServerResponse<Request>
