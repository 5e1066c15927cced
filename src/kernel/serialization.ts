import serializerFactory from '@fastify/fast-json-stringify-compiler'

type Compiler = serializerFactory.SerializerCompiler
type Serializer = serializerFactory.Serializer

/**
 * Fastify's own serializers, each compiled on first use: compiling one per status of every route would delay the start.
 * A test checks that all of them compile.
 */
export const buildSerializer: serializerFactory.SerializerFactory = (...settings) => {
  const compile: Compiler = serializerFactory()(...settings)
  return route => {
    let compiled: Serializer | undefined
    return document => {
      compiled ??= compile(route)
      return compiled(document)
    }
  }
}
