"""The commands of `pipeline-assets`, a file for each subject. They call the other packages and print."""
