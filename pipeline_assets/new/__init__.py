"""Create a pipeline from a sample file: `pipeline-assets new`.

`sample` reads the file as a run would, `names` turns keys into column names, `propose` decides types, key and the rest,
`render` renders the files, and `create` checks them and writes them into the checkout, all or none. Nothing else
imports this package, and a pipeline created by it does not need it.
"""
