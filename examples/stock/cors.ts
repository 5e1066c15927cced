import cors from '@fastify/cors'
import fp from 'fastify-plugin'

/** The slot's options that are used here. */
interface CorsOptions {
  readonly origins: string[]
  readonly maxAge: number
}

/** `@fastify/cors` in place of `cors`, for the same origins. */
export default fp<CorsOptions>(
  async (app, { origins, maxAge }) => {
    await app.register(cors, {
      origin: origins,
      credentials: true,
      methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
      maxAge
    })
  },
  { name: 'stock-cors', fastify: '5.x' }
)
