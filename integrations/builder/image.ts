import { BuildError, type Builder } from './port.ts'

/** Builds nothing: deployments bring their own images and never reach this builder. */
export function createImageBuilder(): Builder {
  return {
    name: 'image',
    async build() {
      throw new BuildError('This server does not build apps: deploy an image that was built elsewhere, by its digest.')
    }
  }
}
