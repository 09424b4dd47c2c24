// The fields of kustomization.yaml that deploy/kubernetes uses, written by hand from kustomize's reference, since
// no package has them. Another one that you need is added here.
interface Fields {
  namespace?: string
  resources?: string[]
  components?: string[]
  labels?: { pairs: { [label: string]: string }; includeSelectors?: boolean }[]
  configMapGenerator?: Generator[]
  secretGenerator?: Generator[]
  images?: { name: string; newName?: string; newTag?: string }[]
  patches?: { target?: { kind?: string; name?: string }; patch: string }[]
}

interface Generator {
  name: string
  behavior?: 'create' | 'merge' | 'replace'
  files?: string[]
}

export interface IKustomization extends Fields {
  apiVersion: 'kustomize.config.k8s.io/v1beta1'
  kind: 'Kustomization'
}

export interface IComponent extends Fields {
  apiVersion: 'kustomize.config.k8s.io/v1alpha1'
  kind: 'Component'
}

// A patch has some of an object's fields, whatever else the object must have.
export type Patch<T> = T extends object ? { [Key in keyof T]?: Patch<T[Key]> } : T
