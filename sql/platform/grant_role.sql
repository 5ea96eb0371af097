-- Makes: a role part of another, so that whoever has the upper one can do what the lower one can.
GRANT ROLE ${role} TO ROLE ${parent}
