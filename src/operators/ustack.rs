//! User stacks: the text fields below every `gadget_user_stack`.
//!
//! The fields `addresses`, `buildid` and `symbols` are part of what readers and filters rely on, so they exist for every gadget
//! that declares a user stack. They are empty: nothing resolves stacks yet, just as when the collection of user stacks is
//! off.

use super::priority;
use super::{Context, Explanation, Instance, OperatorNote};
use crate::Result;
use crate::data::{Flags, NewField, Scalar};

/// The user stacks' part in one gadget.
#[derive(Debug)]
pub struct UserStacks;

impl UserStacks {
    /// Adds the text fields to the referenced data sources. `None` if no field is a user stack.
    pub fn instantiate(context: &mut Context) -> Result<Option<Self>> {
        let mut found = false;
        for (_, stream) in context.referenced() {
            let source = &mut stream.source;
            let stacks: Vec<_> = source.with_tag("type:gadget_user_stack").map(|(id, _)| id).collect();
            for stack in stacks {
                found = true;
                for name in ["addresses", "buildid", "symbols"] {
                    let field = NewField::new(name, Scalar::String)
                        .flags(Flags::HIDDEN)
                        .tag(format!("name:{name}"))
                        .tag("operator:ustack");
                    source.add_sub_field(stack, field)?;
                }
                source.set_hidden(stack, true, true);
            }
        }
        Ok(found.then_some(Self))
    }
}

impl Instance for UserStacks {
    fn name(&self) -> &'static str {
        "ustack"
    }

    fn priority(&self) -> i32 {
        priority::instance::USER_STACK
    }

    fn explain(&self, _context: &Context, to: &mut Explanation) {
        to.operators.push(OperatorNote {
            name: self.name().to_owned(),
            on: false,
            why: "this version does not resolve user stacks".to_owned(),
        });
    }

    fn prepare(&mut self, _context: &mut Context) -> Result<()> {
        Ok(())
    }
}
