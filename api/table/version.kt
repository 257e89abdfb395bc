package version io.k8s.apimachinery.pkg.version never

type Info
  major!                   - string
  minor!                   - string
  emulationMajor?          - string
  emulationMinor?          - string
  minCompatibilityMajor?   - string
  minCompatibilityMinor?   - string
  gitVersion!              - string
  gitCommit!               - string
  gitTreeState!            - string
  buildDate!               - string
  goVersion!               - string
  compiler!                - string
  platform!                - string
